"""Renders what the demo's own networks are trained on: street scenes of the built-in world, as shards on disk.

    python -m scripts.demo_data --kind windows --count 2000 --out data/sam/windows
    python -m scripts.demo_data --kind views   --count 3000 --out data/assistant/views --split validation

`views` are perspective views as a car's camera has them; `tilted` those of a camera in a hand, which also looks down at
the ground; `wide` those of an action camera, which shows about as many pixels per degree as a panorama of the demo;
`windows` are squares cut out of equirectangular panoramas, as stage one cuts them. Seeds come from MODEL_TRAINING or
MODEL_VALIDATION, never from the demo's own scenes.

Legend: N images, H W pixels, 3 = RGB.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.panorama.windows import Window, cut
from pipeline.world import View, build_scene, render_panorama, render_perspective
from pipeline.world.seeds import MODEL_TRAINING, MODEL_VALIDATION

SIZE = 256
"""Side of windows and of most views, pixels: the demo's window."""
PANORAMA_HEIGHT = 512
"""Height of the panoramas that windows are cut from, pixels: the demo's working size."""
SCENES_PER_SHARD = 16
SPLITS = {"training": MODEL_TRAINING, "validation": MODEL_VALIDATION}


@dataclass(frozen=True)
class Batch:
    """Rendered images with exact labels."""

    images_NHW3: npt.NDArray[np.uint8]
    """RGB."""
    labels_NHW: npt.NDArray[np.uint8]
    """Class ids of DENSEPASS_13."""
    instances_NHW: npt.NDArray[np.uint16]
    """Objects, numbered 0, 1, ... within each image."""
    parts_NHW: npt.NDArray[np.uint16]
    """Parts of objects, numbered likewise."""

    def __len__(self) -> int:
        return len(self.images_NHW3)

    def save(self, path: Path) -> None:
        """Write a compressed shard; it appears under its name only when it is complete."""
        partial_path = path.with_suffix(".partial.npz")
        np.savez_compressed(partial_path, **vars(self))
        partial_path.rename(path)

    @staticmethod
    def load(path: Path) -> Batch:
        """Read a shard."""
        with np.load(path) as arrays:
            return Batch(**{name: arrays[name] for name in arrays.files})

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """All images of several batches, in order."""
        return Batch(**{name: np.concatenate([vars(b)[name] for b in batches]) for name in vars(batches[0])})


def shard_paths(folder: Path) -> list[Path]:
    """The complete shards of a folder, in the order of their names; none where there is no folder yet."""
    return sorted(path for path in folder.glob("*.npz") if not path.name.endswith(".partial.npz"))


def load_shards(folder: Path, number: int = 0, readers: int = 1) -> Batch:
    """The shards of a folder, in the order of their names; of several readers, reader `number` gets its share.

    Raises:
        FileNotFoundError: there are none.
    """
    found = shard_paths(folder)
    paths = found[number::readers]
    if not paths:
        raise FileNotFoundError(f"{folder} holds {len(found)} shards for {readers} readers; "
                                "render more with `python -m scripts.demo_data`")  # fmt: skip
    return Batch.join([Batch.load(path) for path in paths])


@dataclass(frozen=True)
class Camera:
    """How the perspective views of one kind are taken."""

    stream: int
    """Of random numbers: the kinds draw their views apart, and a new kind moves no other."""
    draw_pitch: Callable[[np.random.Generator], float]
    """Degrees above the horizon."""
    fov_range: tuple[float, float] = (50.0, 80.0)
    """Horizontal field of view, degrees."""
    size: int = SIZE
    """Side of the images, pixels."""


def level_pitch(rng: np.random.Generator) -> float:
    """About the horizon, as on a car."""
    return float(rng.normal(0, 6))


def any_pitch(rng: np.random.Generator) -> float:
    """From the ground to the roofs, all alike."""
    return float(rng.uniform(-75, 30))


CAMERAS = {
    "views": Camera(1, level_pitch),
    "tilted": Camera(3, any_pitch),
    "wide": Camera(4, any_pitch, fov_range=(80.0, 110.0), size=384),
}


def render_views(camera: Camera, seeds: Sequence[int], per_scene: int) -> Batch:
    """`per_scene` perspective views of each scene, at any yaw; equal seeds, equal views."""
    return _batch(_views(camera, seeds, per_scene))


def render_windows(seeds: Sequence[int], per_scene: int, panorama_height: int = PANORAMA_HEIGHT) -> Batch:
    """`per_scene` squares of each scene's panorama, at any column and row, the outermost rows included."""
    return _batch(_windows(seeds, per_scene, panorama_height))


def _views(camera: Camera, seeds: Sequence[int], per_scene: int) -> Iterator[View]:
    for seed in seeds:
        scene, rng = build_scene(seed), np.random.default_rng((seed, camera.stream))
        start = rng.uniform(0, 360)
        for turn in range(per_scene):
            yaw = start + 360 * (turn + rng.uniform()) / per_scene
            fov, pitch = rng.uniform(*camera.fov_range), camera.draw_pitch(rng)
            yield render_perspective(scene, camera.size, camera.size, fov, yaw=yaw, pitch=pitch)


def _windows(seeds: Sequence[int], per_scene: int, panorama_height: int) -> Iterator[View]:
    for seed in seeds:
        rng = np.random.default_rng((seed, 2))
        panorama = render_panorama(build_scene(seed), panorama_height, 2 * panorama_height)
        last = panorama_height - SIZE
        for _ in range(per_scene):
            row = round(last * float(np.clip(rng.uniform(-0.15, 1.15), 0, 1)))
            window = Window(row, int(rng.integers(2 * panorama_height)), SIZE, SIZE)
            yield View(**{name: cut(values, window) for name, values in vars(panorama).items()})


def _batch(views: Iterator[View]) -> Batch:
    rows = [(v.image_HW3, v.labels_HW, _renumbered(v.instances_HW), _renumbered(v.parts_HW)) for v in views]
    images, labels, instances, parts = (np.stack(column) for column in zip(*rows, strict=True))
    return Batch(images, labels.astype(np.uint8), instances, parts)


def _renumbered(ids_HW: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
    """Ids 0, 1, ... in the order of the originals."""
    return np.unique(ids_HW, return_inverse=True)[1].reshape(ids_HW.shape).astype(np.uint16)


RENDERERS: dict[str, Callable[..., Batch]] = {
    "windows": render_windows,
    **{kind: partial(render_views, camera) for kind, camera in CAMERAS.items()},
}


def shard_name(seeds: Sequence[int], per_scene: int) -> str:
    """File name of a shard; one of fewer scenes, or of fewer images of each, has another."""
    return f"{seeds[0]:07d}_{len(seeds)}x{per_scene}.npz"


def _render_shard(render: Callable[..., Batch], per_scene: int, out: Path, seeds: Sequence[int]) -> int:
    render(seeds, per_scene).save(out / shard_name(seeds, per_scene))
    return len(seeds) * per_scene


def render_shards(kind: str, count: int, out: Path, split: str, seed_offset: int, per_scene: int, workers: int) -> None:
    """Render at least `count` images into `out`; shards that are there already are not rendered again."""
    out.mkdir(parents=True, exist_ok=True)
    scenes = SPLITS[split][seed_offset : seed_offset + -(-count // per_scene)]
    shards = [scenes[i : i + SCENES_PER_SHARD] for i in range(0, len(scenes), SCENES_PER_SHARD)]
    missing = [seeds for seeds in shards if not (out / shard_name(seeds, per_scene)).exists()]
    job = partial(_render_shard, RENDERERS[kind], per_scene, out)
    start, done = time.monotonic(), 0
    with ProcessPoolExecutor(workers) as pool:
        for rendered in pool.map(job, missing):
            done += rendered
            print(f"{done}/{len(missing) * SCENES_PER_SHARD * per_scene} {kind}, "
                  f"{(time.monotonic() - start) / done:.2f} s each", flush=True)  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=RENDERERS, required=True, help="views of one of three cameras, or windows")
    parser.add_argument("--count", type=int, required=True, help="images, at least")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--split", choices=SPLITS, default="training", help="which range of seeds")
    parser.add_argument("--seed-offset", type=int, default=0, help="scenes of that range to leave out at its start")
    parser.add_argument("--per-scene", type=int, default=4, help="images of each scene")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    render_shards(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
