"""Which settings of fusion measure better on photographs with people's labels, a real network and a real SAM.

    python -m scripts.measure_fusion_pictures --data FOLDER --assistant FILE.onnx [--pictures 40] [--only NAME ...]

FOLDER is as for `scripts.measure_tune_pictures`: CamVid's pictures and labels. The assistant, which knows Cityscapes'
classes, is seen half through the whole picture and half through windows that overlap, enlarged 1.5 times, which was the
best of what that script tried. MobileSAM looks at the same windows, and at the things that the assistant finds there.
Masks are kept under --out, so that a killed run goes on and other options need none.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.arrays import FloatArray, ImageArray
from pipeline.cache import records
from pipeline.classes import CITYSCAPES_19, label_set
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.controls import FusionInput
from pipeline.panorama.windows import Window
from pipeline.settings import fingerprint
from pipeline.teacher.assistant import Assistant, load_assistant
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.generator.embeddings import KeptEmbeddings
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.prompting import masks_with_prompts
from pipeline.teacher.rectification import stitch_assistant
from pipeline.teacher.sam import SamMaskGenerator
from scripts.measure_fusion import BLEND, DEFAULT, OPTIONS, Labelled, has_what_it_needs, measure, row, table
from scripts.measure_tune_pictures import CAMVID_OF_CITYSCAPES, pictures, windows_of
from stages.files import digest, write_whole
from stages.runs import open_recipe

FOLDER = Path("cache/bench/fusion-pictures")
"""Where masks lie unless asked otherwise."""
CAMVID = label_set("camvid11")
SAM = ("sam.model=vit_t", "sam.checkpoint=cache/weights/mobile_sam.pt", "sam.points_per_side=8")
"""MobileSAM, with the other settings of the recipe `street`."""
_ASSISTANT = AssistantConfig(label_set=CITYSCAPES_19.name, feature_levels=(), window_scale=1.5, whole_weight=0)


@dataclass(frozen=True)
class Inputs:
    """What fusion has of photographs."""

    assistant: Assistant
    """Knows Cityscapes' classes."""
    source: SamMaskGenerator
    """Finds the masks."""
    sam: SamConfig
    """Its settings."""
    masks: Path
    """Folder where masks are kept."""

    @staticmethod
    def load(assistant: Path, sam: SamConfig, out: Path) -> Inputs:
        """Load the networks: an ONNX file, and SAM as its settings say."""
        config = AssistantConfig(kind="onnx", name=str(assistant), label_set=CITYSCAPES_19.name)
        source = load_mask_source(sam, torch.device("cpu"))
        assert isinstance(source, SamMaskGenerator)
        folder = out / fingerprint(source.identity, sam, digest(assistant))
        return Inputs(load_assistant(config, torch.device("cpu")), source, sam, folder)

    def of(self, name: str, image_HW3: ImageArray) -> FusionInput:
        """What fusion has of one picture; `name` is the picture's own."""
        height, width = image_HW3.shape[:2]
        windows = windows_of(height, width)
        seen = stitch_assistant(image_HW3, windows, self.assistant, _ASSISTANT, CITYSCAPES_19)
        assistant_CHW = np.float32(0.5) * (seen.assistant_CHW + seen.whole_CHW)
        masks = self._masks_of(self.masks / f"{name}.npz", image_HW3, windows, assistant_CHW)
        ignored_HW = np.zeros((height, width), np.bool_)
        return FusionInput(assistant_CHW, seen.agreement_HW, ignored_HW, windows, masks, CITYSCAPES_19, FusionConfig())

    def _masks_of(
        self, file: Path, image_HW3: ImageArray, windows: tuple[Window, ...], assistant_CHW: FloatArray
    ) -> list[MaskSet]:
        if not file.exists():
            cut, kept = [view.cut_image(image_HW3) for view in windows], KeptEmbeddings()
            masks = self.source.many(cut, kept)
            masks = masks_with_prompts(self.source, cut, windows, masks, assistant_CHW, CITYSCAPES_19, self.sam, kept)
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial.npz")
            np.savez_compressed(partial, allow_pickle=False, **records.pack_masks(masks))
            partial.replace(file)
        with np.load(file) as arrays:
            return records.unpack_masks({name: arrays[name] for name in arrays.files}, windows)


def labelled(inputs: Inputs, data: Path, count: int, besides: int = 0) -> Iterator[Labelled]:
    """What fusion has of some pictures, with people's labels; arguments as of `pictures`."""
    for number, (name, image_HW3, labels_HW) in enumerate(pictures(data, count, besides), start=1):
        yield inputs.of(name, image_HW3), labels_HW
        print(f"{number} of {count} pictures", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and labels/")
    parser.add_argument("--assistant", type=Path, required=True, help="an ONNX file that knows Cityscapes' classes")
    parser.add_argument("--pictures", type=int, default=40)
    besides = "none of the pictures that this many would be: to confirm what was chosen on them"
    parser.add_argument("--besides", type=int, default=0, help=besides)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe `street`, key=value")
    parser.add_argument("--only", nargs="*", default=[], help="names of options; all by default")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = open_recipe("street", (*SAM, *options.set))
    chosen = {name: OPTIONS[name] for name in options.only} or OPTIONS
    chosen = {name: own for name, own in chosen.items() if has_what_it_needs(own, recipe.sam)}
    inputs = Inputs.load(options.assistant, recipe.sam, options.out)
    known = labelled(inputs, options.data, options.pictures, options.besides)
    scores = measure(known, {DEFAULT: {}} | chosen, CAMVID_OF_CITYSCAPES)
    text = table(row(name, own, scores[DEFAULT], scores[BLEND], CAMVID) for name, own in scores.items())
    write_whole(options.out / "fusion.md", f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
