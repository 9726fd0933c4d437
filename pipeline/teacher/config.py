"""Settings of stage one's science: SAM, the assistant, boundary enhancement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.panorama.config import VIEW_GROUPS
from pipeline.settings import require, require_choice, require_fraction

WINDOWS, VIEWS = "windows", "views"
"""Of `SamConfig.shown`: the windows, and all groups of perspective views."""
_PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class SamConfig:
    """SAM and its automatic mask generator; names follow `SamAutomaticMaskGenerator`."""

    kind: str = "sam"
    """Source of the masks. sam: our generator, with the same masks as segment_anything's. stock: segment_anything's own
    generator, many times slower, for comparisons. transformers: the promptable network of `name`, prompted with the
    same grid of points and filtered by the same rules, one image at a time."""
    name: str = ""
    """Only for transformers, instead of model and checkpoint: hub name or folder of a SAM, SAM-HQ, SAM 2, SAM 3 or
    EdgeTAM; for example facebook/sam2.1-hiera-large, syscv-community/sam-hq-vit-base or, where timm is installed,
    yonigozlan/EdgeTAM-hf."""
    model: str = "demo"
    """One of demo (the embedded small SAM), vit_t (MobileSAM, for processors without a GPU; needs timm), vit_b, vit_l,
    vit_h."""
    checkpoint: str = ""
    """Path of the checkpoint; empty for the embedded demo SAM. It must hold all of the model's weights; others, such
    as HQ-SAM's, are ignored with a note."""
    points_per_side: int = 16
    """Prompts per window side; the grid has this number squared."""
    points_per_batch: int = 64
    """Prompts decoded at once on a CPU; memory, not results, depends on it."""
    pred_iou_thresh: float = 0.88
    """Masks with a lower predicted IoU are dropped."""
    stability_score_thresh: float = 0.95
    """Masks with a lower stability score are dropped: the area above the raised over the area above the lowered logit
    threshold."""
    stability_score_offset: float = 1.0
    """How far the threshold is raised and lowered for the stability score, in logits."""
    box_nms_thresh: float = 0.7
    """Of two masks whose boxes overlap more (IoU), the one with the lower predicted IoU is dropped."""
    crop_n_layers: int = 0
    """Layers of crops of the window on which SAM runs again, for small objects: layer i has 4^i crops. Not for
    transformers."""
    crop_nms_thresh: float = 0.7
    """As box_nms_thresh, between crops; the mask of the smaller crop stays."""
    crop_overlap_ratio: float = 512 / 1500
    """Overlap of the first layer's crops, as a share of the window's shorter side; it halves from layer to layer."""
    crop_n_points_downscale_factor: int = 1
    """From layer to layer, the points per side are divided by this."""
    min_mask_region_area: int = 0
    """Holes and islands of masks with fewer pixels are removed; 0 leaves them."""
    refine: int = 0
    """How often every mask is decoded again with its own logits as mask prompt (SAM-SPT); 0: never. Only for sam."""
    jitter: float = 0.0
    """Every mask's prompt is moved by this share of the window's longer side, and the IoU of what is found then is
    stored with the mask, for fusion.weigh_by (Stable-SAM), for example 0.01; 0: never. Only for sam."""
    keep_levels: bool = False
    """Keep all good masks of every prompt (whole, part and part of that), also those that resemble others, for
    fusion.one_per_prompt. Only for sam, without crops."""
    shown: tuple[str, ...] = ("windows",)
    """What SAM is shown: windows, and perspective views of the sphere by their groups in `views` (level, down, up,
    nadir, zenith, or views for all of them), for example ["windows", "down"]. Number, size, field of view and source
    are those of `views`, whose weights are the assistant's alone. What no picture shows has no masks (ours)."""
    context: float = 0.0
    """Masks that cover at least this share of a window are taken from a window of twice the size around it, smaller
    ones from itself (as in WSI-SAM), for example 0.1; 0: all are its own."""
    prompt_things: bool = False
    """Every connected piece of a thing or of a thin class that the assistant finds in a window is prompted with its box
    and two of its points, and SAM's answers vote as the grid's masks do (ours). Only for sam."""
    points_in_doubt: int = 0
    """Up to so many further points in every window, where the assistant is least sure or the grid's masks contradict it
    (ours); with a coarser grid the prompts stay as many: 6 points per side and 28 in doubt are 64, as 8 per side. Only
    for sam."""
    precision: str = "float32"
    """float32: the stock generator's masks. bfloat16: faster where the processor has it, with slightly other masks.
    auto: bfloat16 where the device computes in it, float32 elsewhere; masks then depend a little on the machine. The
    stock generator computes in float32, networks of transformers use bfloat16 for the image's embedding alone."""
    memory_gib: float = 0.0
    """GiB of a GPU that SAM may use beside its weights; speed, not results, depends on it. 0: half of what is free
    when SAM is loaded. `--workers` share it; each worker of a cluster has it. A CPU ignores it."""

    def __post_init__(self) -> None:
        require_choice("sam.kind", self.kind, ("sam", "stock", "transformers"))
        require_choice("sam.model", self.model, ("demo", "vit_t", "vit_b", "vit_l", "vit_h"))
        is_of_transformers = self.kind == "transformers"
        require((self.name != "") == is_of_transformers, "sam.name", self.name,
                "a hub name or folder" if is_of_transformers else "empty unless sam.kind is transformers")  # fmt: skip
        require(self.crop_n_layers == 0 or not is_of_transformers, "sam.crop_n_layers", self.crop_n_layers,
                "0 where sam.kind is transformers")  # fmt: skip
        require(is_of_transformers or self.model == "demo" or self.checkpoint != "", "sam.checkpoint", self.checkpoint,
                f"the path of a {self.model} checkpoint (`goodsam fetch-weights {self.model}` brings it)")  # fmt: skip
        precisions = ("auto", "float32") if self.kind == "stock" else _PRECISIONS
        require_choice("sam.precision", self.precision, precisions)
        for key in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            require(getattr(self, key) > 0, f"sam.{key}", getattr(self, key), "a positive number")
        for key in ("crop_n_layers", "min_mask_region_area", "refine", "points_in_doubt"):
            require(getattr(self, key) >= 0, f"sam.{key}", getattr(self, key), "zero or a positive number")
        for key in ("refine", "jitter"):
            require(self.kind == "sam" or getattr(self, key) == 0, f"sam.{key}", getattr(self, key),
                    "0 unless sam.kind is sam")  # fmt: skip
        for key in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "jitter",
            "context",
        ):
            require_fraction(f"sam.{key}", getattr(self, key))
        require(not self.keep_levels or (self.kind == "sam" and self.crop_n_layers == self.min_mask_region_area == 0),
                "sam.keep_levels", self.keep_levels,
                "false unless sam.kind is sam, and sam.crop_n_layers and sam.min_mask_region_area are 0")  # fmt: skip
        for name in self.shown:
            require_choice("sam.shown", name, (WINDOWS, VIEWS, *VIEW_GROUPS))
        require(0 < len(self.shown) == len(set(self.shown)), "sam.shown", list(self.shown),
                "at least one, each once")  # fmt: skip
        require(self.context == 0 or not self.view_groups, "sam.context", self.context,
                '0 unless sam.shown is ["windows"]: there is no wider picture around a perspective view')  # fmt: skip
        require(self.context == 0 or not (self.keep_levels or self.jitter), "sam.context", self.context,
                "0 where sam.keep_levels is true or sam.jitter above 0")  # fmt: skip
        is_plain = self.kind == "sam" and not (self.refine or self.jitter or self.keep_levels)
        for key, off in FURTHER_PROMPTS.items():
            require(is_plain or getattr(self, key) == off, f"sam.{key}", getattr(self, key),
                    "off unless sam.kind is sam, and without sam.refine, sam.jitter and sam.keep_levels")  # fmt: skip
        require(self.memory_gib >= 0, "sam.memory_gib", self.memory_gib, "zero or a positive number of GiB")
        require(0 <= self.crop_overlap_ratio < 1, "sam.crop_overlap_ratio", self.crop_overlap_ratio,
                "at least 0 and below 1")  # fmt: skip
        require(self.points_per_side >= self.crop_n_points_downscale_factor**self.crop_n_layers,
                "sam.crop_n_points_downscale_factor", self.crop_n_points_downscale_factor,
                "small enough that the last layer of crops has points")  # fmt: skip

    @property
    def sees_windows(self) -> bool:
        """Whether SAM is shown the windows."""
        return WINDOWS in self.shown

    @property
    def view_groups(self) -> tuple[str, ...]:
        """The groups of perspective views that SAM is shown."""
        return VIEW_GROUPS if VIEWS in self.shown else tuple(name for name in VIEW_GROUPS if name in self.shown)

    @property
    def prompts_further(self) -> bool:
        """Whether SAM gets further prompts than the grid's, which the assistant gives."""
        return self.prompt_things or self.points_in_doubt > 0

    def generator_settings(self) -> dict[str, Any]:
        """Arguments of the stock generator: all settings but kind, network, precision, memory and what it lacks."""
        ours = ("kind", "name", "model", "checkpoint", "precision", "memory_gib", *SAM_OPTIONAL)
        return {name: value for name, value in vars(self).items() if name not in ours}


FURTHER_PROMPTS = {"prompt_things": False, "points_in_doubt": 0}
"""Settings of the prompts that the assistant gives, and the values with which there are none; the grid's masks do not
depend on them."""
SAM_OPTIONAL = {
    "refine": 0,
    "jitter": 0.0,
    "context": 0.0,
    "keep_levels": False,
    "shown": ("windows",),
    **FURTHER_PROMPTS,
}
"""Settings that came later, and the values with which masks are what they were before them."""


@dataclass(frozen=True)
class SettingNames:
    """What errors call the settings that name an assistant's network: by a recipe's table, or a command's options."""

    name: str
    """The network."""
    label_set: str
    """Its classes."""
    output: str
    """The output of an ONNX file that has the class scores."""

    @classmethod
    def of_table(cls, table: str) -> SettingNames:
        """As a recipe's table has them."""
        return cls(f"{table}.name", f"{table}.label_set", f"{table}.output")


FIRST_ASSISTANT = SettingNames.of_table("assistant")
"""The settings of a recipe's first assistant."""


@dataclass(frozen=True)
class AssistantConfig:
    """The teacher assistant: a semantic network trained on perspective images."""

    kind: str = "demo"
    """One of demo (the embedded SegFormer), transformers (hub name or folder), onnx (a file)."""
    name: str = ""
    """Hub name or folder of a semantic-segmentation model, or path of an ONNX file; empty for the demo."""
    label_set: str = "cityscapes19"
    """Classes that the network predicts, a name or a file as for the recipe; merged into those after the softmax. The
    demo's are densepass13."""
    output: str = ""
    """Only for onnx: the output that has the class scores. Empty: `logits`, or the only one beside the encoder
    levels."""
    window_scale: float = 1.0
    """Windows are resized by this factor for the network, to match the resolution per degree of its training."""
    whole_scale: float = 1.0
    """The whole panorama is resized by this factor for the network."""
    whole_weight: float = 0.0
    """Weight of the whole image's probabilities in the stitched ones; the windows have the rest. The whole image
    provides context, the windows detail."""
    views_weight: float = 0.0
    """Weight of the perspective views (`views.*`), which lack the distortion of the flat panorama; 0: none are used.
    The windows have the remaining weight."""
    views_scale: float = 1.0
    """Perspective views are resized by this factor for the network."""
    confidence_power: float = 0.0
    """Windows, perspective views and whole image count at each pixel by how sure they are, beside their weights: by
    (1 - entropy / log C) to this power. 0: by their weights alone (ours)."""
    latitude_power: float = 0.0
    """Away from the horizon the flat panorama has 1 / cos(latitude) times more pixels per degree across than down: what
    is seen there is stretched. Windows and whole image count by cos(latitude) to this power, beside perspective views.
    0: everywhere by their weights alone (ours)."""
    feature_levels: tuple[int, ...] = (1, 2, 3, 4)
    """Encoder levels (1 = finest) that are cached for the feature loss; may be empty."""
    precision: str = "float32"
    """float32, or bfloat16: faster where the processor has it, with labels that differ in a few pixels (not for onnx),
    or auto: bfloat16 where the device computes in it, float32 elsewhere."""

    def __post_init__(self) -> None:
        require_choice(f"{self.table}.kind", self.kind, ("demo", "transformers", "onnx"))
        precisions = ("auto", "float32") if self.kind == "onnx" else _PRECISIONS
        require_choice(f"{self.table}.precision", self.precision, precisions)
        require(self.kind == "demo" or self.name != "", f"{self.table}.name", self.name,
                "a hub name, folder or ONNX file")  # fmt: skip
        require(self.output == "" or self.kind == "onnx", f"{self.table}.output", self.output,
                f"empty unless {self.table}.kind is onnx")  # fmt: skip
        for key in ("window_scale", "whole_scale", "views_scale"):
            require(0 < getattr(self, key) <= 8, f"{self.table}.{key}", getattr(self, key), "above 0 and at most 8")
        require_fraction(f"{self.table}.whole_weight", self.whole_weight)
        require(0 <= self.views_weight <= 1 - self.whole_weight + 1e-9, f"{self.table}.views_weight",
                self.views_weight, f"at least 0 and, with {self.table}.whole_weight, at most 1")  # fmt: skip
        for key in ("confidence_power", "latitude_power"):
            require(0 <= getattr(self, key) <= 8, f"{self.table}.{key}", getattr(self, key), "from 0 to 8")
        require(all(1 <= level <= 4 for level in self.feature_levels) and
                len(set(self.feature_levels)) == len(self.feature_levels), f"{self.table}.feature_levels",
                self.feature_levels, "distinct levels out of 1, 2, 3, 4")  # fmt: skip

    @property
    def table(self) -> str:
        """The recipe's table of these settings, for errors."""
        return "assistant"

    @property
    def setting_names(self) -> SettingNames:
        """What errors call the settings that name the network."""
        return SettingNames.of_table(self.table)


OPTIONAL_OF_ASSISTANT = {"confidence_power": 0.0, "latitude_power": 0.0}
"""Settings of the assistant that came later, and the values with which it is what it was before them."""
MOST_FURTHER = 4
"""Further assistants that a recipe may have."""


@dataclass(frozen=True)
class FurtherAssistantConfig(AssistantConfig):
    """A further assistant (ours): its probabilities are averaged with the first's, and `fusion.agree` compares them."""

    feature_levels: tuple[int, ...] = ()
    """Empty: features for the feature loss come from the first assistant."""
    weight: float = 1.0
    """Weight of its probabilities in the mean of all assistants, where the first has 1; 0: it only agrees or disagrees
    (`fusion.agree`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.feature_levels == (), f"{self.table}.feature_levels", self.feature_levels,
                "empty: features come from the first assistant")  # fmt: skip
        require(0 <= self.weight <= 100, f"{self.table}.weight", self.weight, "from 0 to 100")

    @property
    def table(self) -> str:
        """See `AssistantConfig`."""
        return "further_assistants"


@dataclass(frozen=True)
class UnknownConfig:
    """Unknown objects: masks of things that no class describes (ours)."""

    min_predicted_iou: float = 0.88
    """Masks of unknown objects have at least this predicted IoU."""
    min_entropy: float = 0.4
    """The entropy of the assistant's mean probabilities inside such a mask is at least this share of the highest
    possible one."""
    max_stuff: float = 0.5
    """Ground, buildings, plants and sky have at most this share of these probabilities together."""
    max_size: float = 0.1
    """Such a mask covers at most this share of its window."""
    ignored_by_student: bool = False
    """Leave unknown objects out of what the student learns from."""

    def __post_init__(self) -> None:
        for key in ("min_predicted_iou", "min_entropy", "max_stuff", "max_size"):
            require_fraction(f"unknown.{key}", getattr(self, key))


@dataclass(frozen=True)
class BoundaryConfig:
    """Boundary enhancement: SAM's edges that the assistant confirms (paper figure 3; definition ours)."""

    radius: int = 3
    """A SAM edge pixel is kept if a label edge of the assistant lies within this many pixels."""
    agreement: str = "windows"
    """What must agree on a label edge where there is no mask. windows: any two windows; shapes: windows of two shapes
    (GoodSAM++), which `windows.more` provides."""

    def __post_init__(self) -> None:
        require(self.radius >= 0, "boundary.radius", self.radius, "zero or a positive number of pixels")
        require_choice("boundary.agreement", self.agreement, ("windows", "shapes"))


OPTIONAL_OF_BOUNDARY = {"agreement": "windows"}
"""Settings of boundaries that came later, and the values with which boundaries are what they were before them."""
