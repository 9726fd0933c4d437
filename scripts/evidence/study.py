"""What the study compares: settings of the demo's recipe, each with a sentence for the tables.

A part's first variant is what its others are compared with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from stages.runs import open_recipe


@dataclass(frozen=True)
class Variant:
    """Settings that are measured."""

    name: str
    """As the tables show it."""
    settings: tuple[str, ...] = ()
    """Of the recipe, `key=value`."""
    made_by: str = ""
    """Command that makes the recipe out of the demo's: adapt or tune. Empty: it is the demo's, with the settings."""
    made_with: tuple[str, ...] = ()
    """Settings of the recipe that the command is given."""
    rounds: int = 1
    """Rounds of adapt."""
    taught_by: str = "cache"
    """cache: the student learns from stage one's ensemble; truth: from the true labels in its place; both: from the
    ensemble, and from the true labels of `labelled` panoramas as corrections."""
    labelled: int = 0
    """Panoramas whose true labels are known, with taught_by = "truth" (0: all, else the others are not learned from)
    or "both"."""
    learn_from: int = 0
    """Panoramas without labels to learn from, at most 96. 0: those of the other rows."""
    has_students: bool = True
    """Whether students are trained; stage one alone is measured otherwise."""


@dataclass(frozen=True)
class Need:
    """A file that no package holds, without which a part is skipped."""

    path: str
    remedy: str
    """The command that brings it."""


@dataclass(frozen=True)
class Part:
    """A table of the study."""

    title: str
    """Its heading."""
    question: str
    """What it answers, a sentence."""
    variants: tuple[Variant, ...]
    """Its rows."""
    seeds: int = 3
    """Students of each row."""
    settings: tuple[str, ...] = ()
    """Of every row, under its own."""
    controls: tuple[str, ...] = field(default=())
    """`evaluation.controls` that are measured with the first variant."""
    blends: tuple[Variant, ...] = ()
    """Variants whose assistant's blends are further rungs beside the first variant's, under the variants' names."""
    needs: tuple[Need, ...] = ()
    """Files without which the part is skipped."""
    over: str = ""
    """What the rows are drawn over: seconds (of stage one, measured for each row) or steps (of the student). Empty:
    the rows are drawn below each other."""


DEFAULT = Variant("the demo's recipe")
_HALVES = ("distill.crop_width=512",)
"""Students learn from half of the panorama in every step: as good on scenes they have not seen, for a third of the
time (scripts/measured/study.md)."""
_AS_DRAWN = ("assistant.views_weight=0", "fusion.join=0", "fusion.protect_rare=0", "fusion.protect_thin=false",
             "losses.hard=true", "losses.class_balance=0")  # fmt: skip
MOBILE_SAM = Need("cache/weights/mobile_sam.pt", "goodsam fetch-weights vit_t")
_WITH_MOBILE_SAM = ("sam.model=vit_t", f"sam.checkpoint={MOBILE_SAM.path}", "sam.pred_iou_thresh=0.88",
                    "sam.stability_score_thresh=0.95", "sam.precision=auto")  # fmt: skip
_B0_FOLDER = "data/assistant/out/b0_start"
B0_START = Need(
    f"{_B0_FOLDER}/model.safetensors",
    "python -m scripts.train_demo_assistant b0_start --begin-with pipeline/demo/assistant --minutes 150",
)
_B0 = ("student.size=b0", f"student.weights={_B0_FOLDER}")
_WITH_THINGS = (*_WITH_MOBILE_SAM, "sam.prompt_things=true")
_STREET = open_recipe("street").fusion
_AS_STREET = (*_WITH_THINGS, *(f"fusion.{key}={json.dumps(value)}" for key, value in asdict(_STREET).items()))
_TREES_TOO = json.dumps([*_STREET.give_back, "sky in vegetation", "vegetation in sky"])


def _assistant(folder: str) -> tuple[str, ...]:
    """Settings by which the network of a folder is the assistant."""
    return ("assistant.kind=transformers", f"assistant.name={folder}", "assistant.label_set=densepass13")


_STUDENT_START = _assistant("pipeline/demo/student_start")


def one_by_one(*rows: tuple[str, str] | tuple[str, tuple[str, ...]], has_students: bool = True) -> tuple[Variant, ...]:
    """The demo's recipe, and variants of it from (name, setting or settings)."""
    changed = [
        Variant(name, settings if isinstance(settings, tuple) else (settings,), has_students=has_students)
        for name, settings in rows
    ]
    return (DEFAULT, *changed)


PARTS = {
    "ladder": Part(
        "The ladder",
        "What does every step of the method give, and how far is the student from its ceiling?",
        (DEFAULT, Variant("ceiling: the same student taught by the truth", taught_by="truth")),
        controls=("sam_only", "superpixels", "oracle"),
        blends=(
            Variant("assistant_windows", ("assistant.views_weight=0",)),
            Variant("assistant_views", ("assistant.views_weight=1",)),
        ),
    ),
    "methods": Part(
        "Whole methods",
        "What do the methods as drawn give, and what do `goodsam adapt` and `goodsam tune` make of the recipe?",
        (
            DEFAULT,
            Variant("as the paper draws it: windows, masks voting alone, labels", _AS_DRAWN),
            Variant("GoodSAM++ as drawn: windows of two shapes, levels, weight maps",
                    (*_AS_DRAWN, "fusion.theta_by=levels", "fusion.votes=confidence", "fusion.lcr_by=votes",
                     "boundary.agreement=shapes", "windows.height=192", "windows.width=256", "windows.stride_y=128",
                     "windows.more=[[256, 128, 128, 128]]")),
            Variant("adapted: after one round of `goodsam adapt`", made_by="adapt"),
            Variant("tuned: the recipe that `goodsam tune` writes", made_by="tune"),
            Variant("ceiling: the same student taught by the truth", taught_by="truth"),
        ),
        seeds=2,
        settings=_HALVES,
    ),
    "fusion": Part(
        "Fusion, part by part",
        "What is each choice of fusion worth to the ensemble and to the student?",
        one_by_one(
            ("theta 0.5", "fusion.theta=0.5"),
            ("theta 0.6", "fusion.theta=0.6"),
            ("theta 0.8", "fusion.theta=0.8"),
            ("theta 0.9", "fusion.theta=0.9"),
            ("theta by levels of size", "fusion.theta_by=levels"),
            ("votes by confidence", "fusion.votes=confidence"),
            ("theta by levels, votes and Lcr by confidence (GoodSAM++)",
             ("fusion.theta_by=levels", "fusion.votes=confidence", "fusion.lcr_by=votes")),
            ("unreliable masks keep the assistant's labels", "fusion.unreliable=keep"),
            ("every mask votes alone", "fusion.join=0"),
            ("rare classes not protected", "fusion.protect_rare=0"),
            ("thin classes not protected", "fusion.protect_thin=false"),
        ),
        seeds=1,
        settings=_HALVES,
    ),
    "views": Part(
        "What the assistant and SAM see",
        "What are windows, views, points and their number worth?",
        one_by_one(
            ("windows alone", "assistant.views_weight=0"),
            ("windows and whole image, half each", ("assistant.views_weight=0", "assistant.whole_weight=0.5")),
            ("views alone (10 that look down)", "assistant.views_weight=1"),
            ("half windows, half views all around (26)", ("views.level=8", "views.up=8", "views.zenith=2")),
            (
                "windows of 512 pixels",
                ("windows.height=512", "windows.width=512", "windows.stride_y=256", "windows.stride_x=256"),
            ),
            ("windows overlap by three quarters in width", "windows.stride_x=64"),
            ("4 x 4 points", "sam.points_per_side=4"),
            ("12 x 12 points", "sam.points_per_side=12"),
            ("masks of predicted IoU above 0.7", "sam.pred_iou_thresh=0.7"),
            ("masks drawn again with themselves as prompts", "sam.refine=1"),
            ("of a prompt's masks the largest that is pure", ("sam.keep_levels=true", "fusion.one_per_prompt=true")),
        ),
        seeds=1,
        settings=_HALVES,
    ),
    "losses": Part(
        "The student's lessons",
        "What is each loss and each choice of the training worth to the student?",
        one_by_one(
            ("without the assistant's loss", "losses.assistant=0"),
            ("without E", "losses.ensemble=0"),
            ("without E_H", "losses.reliable=0"),
            ("without boundaries", "losses.boundary=0"),
            ("without features", "losses.features=0"),
            ("E alone", ("losses.assistant=0", "losses.reliable=0", "losses.boundary=0", "losses.features=0")),
            ("labels instead of soft targets", "losses.hard=true"),
            ("temperature 2", "losses.temperature=2"),
            ("features by mean squared error", "losses.feature_form=mse"),
            ("features by channel-wise divergence (CWD)", "losses.feature_form=channels"),
            ("edges and bodies apart, half each (BPKD)", "losses.edge_share=0.5"),
            ("average of the weights over about 25 steps", "distill.average=0.96"),
            ("classes not balanced", "losses.class_balance=0"),
            ("neither rolled nor mirrored", ("distill.yaw_roll=false", "distill.mirror=false")),
            ("the whole panorama in every step", "distill.crop_width=0"),
            ("colours as they are", "distill.colour_jitter=0"),
            ("from random weights", "student.weights="),
            ("a B0 student (3.7 million parameters), from random weights", ("student.size=b0", "student.weights=")),
        ),
        seeds=1,
        settings=_HALVES,
    ),
    "steps": Part(
        "Quality over steps",
        "How long must a student learn?",
        one_by_one(*((f"{steps} steps", f"distill.steps={steps}") for steps in (40, 80, 320, 640))),
        seeds=1,
        settings=_HALVES,
        over="steps",
    ),
    "sight": Part(
        "How fine the student sees",
        "What is it worth to show the student the panorama enlarged 1.5 times, as the demo's recipe does?",
        one_by_one(*((f"{times}, {steps} steps", (f"student.scale={scale}", f"distill.steps={steps}"))
                     for times, scale, steps in (("as it is", 1, 320), ("1.5 times as large", 1.5, 320),
                                                 ("2 times as large", 2, 160)))),
        seeds=2,
    ),
    "cost": Part(
        "Quality over cost",
        "What does a second of stage one buy? Seconds of one processor per panorama, networks loaded.",
        one_by_one(
            ("the whole panorama as the only window",
             ("windows.height=512", "windows.width=1024", "windows.stride_y=512", "windows.stride_x=1024",
              "assistant.window_scale=1", "assistant.views_weight=0")),
            ("windows that do not overlap, no views",
             ("windows.stride_y=256", "windows.stride_x=256", "assistant.views_weight=0")),
            ("windows that do not overlap", ("windows.stride_y=256", "windows.stride_x=256")),
            ("no views", "assistant.views_weight=0"),
            ("windows not enlarged", "assistant.window_scale=1"),
            ("4 x 4 points", "sam.points_per_side=4"),
            ("12 x 12 points", "sam.points_per_side=12"),
            ("views all around (26)", ("views.level=8", "views.up=8", "views.zenith=2")),
            has_students=False,
        ),
        seeds=0,
        over="seconds",
    ),
    "mobile-sam": Part(
        "A real SAM",
        "What do the masks of MobileSAM give, which was trained on photographs, in place of the demo SAM's?",
        one_by_one(
            ("MobileSAM, 8 x 8 points", _WITH_MOBILE_SAM),
            ("and every mask votes alone", (*_WITH_MOBILE_SAM, "fusion.join=0")),
            ("and as the paper draws it", (*_WITH_MOBILE_SAM, *_AS_DRAWN)),
            ("and things are prompted", _WITH_THINGS),
            ("and things are prompted, fused as in street", _AS_STREET),
            ("and things are prompted, fused as in street but joined", (*_AS_STREET, "fusion.join=0.5")),
            ("and things are prompted, fused as in street, sky and vegetation given back",
             (*_AS_STREET, f"fusion.give_back={_TREES_TOO}")),
            ("and things are prompted, each mask alone, unreliable ones keep the assistant's labels",
             (*_WITH_THINGS, "fusion.join=0", "fusion.protect_rare=0", "fusion.unreliable=keep")),
            ("MobileSAM, 4 x 4 points and prompted things",
             (*_WITH_MOBILE_SAM, "sam.points_per_side=4", "sam.prompt_things=true")),
            ("MobileSAM, 16 x 16 points and prompted things",
             (*_WITH_MOBILE_SAM, "sam.points_per_side=16", "sam.prompt_things=true")),
            has_students=False,
        ),
        seeds=0,
        needs=(MOBILE_SAM,),
    ),
    "adapt": Part(
        "Adapting to the ensemble of a real SAM",
        "What does one round of `goodsam adapt` give where masks, MobileSAM's, know more than the assistant?",
        (
            DEFAULT,
            Variant("the assistant adapted to this ensemble", made_by="adapt", made_with=_WITH_MOBILE_SAM,
                    has_students=False),
            Variant("the assistant adapted to that with prompted things", made_by="adapt",
                    made_with=_WITH_THINGS, has_students=False),
            Variant("that in two rounds", made_by="adapt", made_with=_WITH_THINGS,
                    rounds=2, has_students=False),
            Variant("that with classes balanced", made_by="adapt",
                    made_with=(*_WITH_THINGS, "adapt.class_balance=0.5"),
                    has_students=False),
            Variant("that with three times the learning rate", made_by="adapt",
                    made_with=(*_WITH_THINGS, "adapt.learning_rate=6e-5"),
                    has_students=False),
        ),
        seeds=0,
        settings=(*_WITH_MOBILE_SAM, "sam.prompt_things=false"),
        needs=(MOBILE_SAM,),
    ),
    "b0": Part(
        "A B0 student",
        "What does a student of 3.7 million parameters make of the ensembles, and what would the truth make of it?",
        (
            DEFAULT,
            Variant("B0, 160 steps", _B0),
            Variant("B0, of the ensemble of MobileSAM and prompted things",
                    (*_B0, *_WITH_THINGS)),
            Variant("B0, 160 steps, taught by the truth", _B0, taught_by="truth"),
            Variant("B0, 640 steps", (*_B0, "distill.steps=640")),
            Variant("B0, 640 steps, taught by the truth", (*_B0, "distill.steps=640"), taught_by="truth"),
        ),
        seeds=1,
        settings=_HALVES,
        needs=(MOBILE_SAM, B0_START),
    ),
    "assistants": Part(
        "Other assistants",
        "What would an assistant give that has learned from wide views and large crops, as students' starts have?",
        one_by_one(
            ("the start of the demo's student (0.78 million parameters)", _STUDENT_START),
            ("and unreliable masks keep its labels", (*_STUDENT_START, "fusion.unreliable=keep")),
            ("and MobileSAM's masks", (*_STUDENT_START, *_WITH_MOBILE_SAM)),
            ("and MobileSAM's masks, of which unreliable ones keep its labels",
             (*_STUDENT_START, *_WITH_MOBILE_SAM, "fusion.unreliable=keep")),
            ("the start of a B0 student (3.7 million)", _assistant(_B0_FOLDER)),
            has_students=False,
        ),
        seeds=0,
        needs=(MOBILE_SAM, B0_START),
    ),
    "panoramas": Part(
        "Panoramas without labels",
        "How many panoramas does a student need, none of which has labels?",
        (
            DEFAULT,
            *(Variant(f"{count} panoramas", learn_from=count) for count in (6, 12, 48, 96)),
            Variant("96 panoramas, 320 steps", ("distill.steps=320",), learn_from=96),
        ),
        seeds=2,
        settings=_HALVES,
    ),
    "labels": Part(
        "Labels",
        "What would labels of some panoramas be worth, alone and beside the ensemble?",
        (
            DEFAULT,
            *(Variant(f"{count} labelled panoramas alone", taught_by="truth", labelled=count) for count in (1, 4, 16)),
            *(Variant(f"the ensemble and {count} labelled panoramas", taught_by="both", labelled=count)
              for count in (1, 4, 16)),
        ),
        seeds=2,
        settings=_HALVES,
    ),
}  # fmt: skip
"""Every part by its name on the command line."""
