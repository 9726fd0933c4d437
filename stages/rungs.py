"""Stage one's rungs of the ladder, from what stage one knows of a panorama."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.classes import IGNORE
from pipeline.evaluate.ladder import OWN_BLENDS
from pipeline.evaluate.metrics import LabelArray, best_class_at, labels_at, resize_nearest
from pipeline.evaluate.threshold import confidence_threshold

# C classes, H W working size of the panorama.


@dataclass(frozen=True)
class TeacherArrays:
    """What stage one knows of one panorama, at the working size."""

    assistant_CHW: npt.NDArray[np.float32]
    """S_TA^w: stitched probabilities; of several assistants, their mean."""
    whole_CHW: npt.NDArray[np.float32]
    """The (first) assistant's probabilities on the whole image."""
    agreement_HW: npt.NDArray[np.float32]
    """A: agreement of the windows, 0..1."""
    ensemble_HW: LabelArray
    """E: class ids, 255 where nothing was seen."""
    reliable_HW: npt.NDArray[np.bool_]
    """M."""
    ignored_HW: npt.NDArray[np.bool_]
    """Pixels where nothing was seen (rig, black nadir)."""
    own_CHW: tuple[npt.NDArray[np.float32], ...] = ()
    """The stitched probabilities of each of several assistants; empty for one."""
    agree_HW: npt.NDArray[np.bool_] | None = None
    """Where as many of several assistants as the recipe asks for (else all) agree with their mean; None for one."""


def teacher_rungs(
    teacher: TeacherArrays, thresholds_C: npt.NDArray[np.float32], height: int, width: int
) -> dict[str, LabelArray]:
    """Stage one's rungs at the truth's size: probabilities are resized before the argmax, E (hard labels) nearest."""
    blend, confidence = best_class_at(teacher.assistant_CHW, height, width)
    ensemble = resize_nearest(teacher.ensemble_HW, height, width)
    reliable = resize_nearest(teacher.reliable_HW, height, width)
    further: dict[str, LabelArray] = {}
    if teacher.agree_HW is not None:
        own = zip(OWN_BLENDS, teacher.own_CHW, strict=False)
        further = {name: labels_at(own_CHW, height, width) for name, own_CHW in own}
        agree = resize_nearest(teacher.agree_HW, height, width)
        further["assistants_agree"] = np.where(agree, blend, np.uint8(IGNORE))
    return {
        **further,
        "assistant_whole": labels_at(teacher.whole_CHW, height, width),
        "assistant_blend": blend,
        "confidence_threshold": confidence_threshold(blend, confidence, thresholds_C),
        "ensemble": ensemble,
        "ensemble_reliable": np.where(reliable, ensemble, np.uint8(IGNORE)),
    }
