"""When does a study count as complete? Nothing new for a while, and never later than the ceiling. Pure.

DICOM has no "that was the last image"; a quiet time is what the field uses, longer for CT, whose series are sent with pauses.
"""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.studies.settings import StudiesSettings

#: SOP classes that arrive in series of many objects (PS3.4, B.5).
CT_SOP_CLASSES = frozenset(("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"))


def quiet_seconds(sop_class_uids: Iterable[str], settings: StudiesSettings, hints: Iterable[float] = ()) -> float:
    """Return how long nothing must come before the study starts.

    ``hints`` are the quiet times of routing rules that could apply; the longest is taken: a study that starts late
    is only late, one that starts early is cut in two.
    """
    chosen = max(hints, default=0.0)
    if chosen > 0:
        return chosen
    return settings.quiet_seconds_ct if not CT_SOP_CLASSES.isdisjoint(sop_class_uids) else settings.quiet_seconds


def deadline_utc(now_utc: float, quiet: float, ceiling_utc: float) -> float:
    """Return when the study counts as complete if nothing else comes.

    Never after the ceiling; and never before now, so that an arrival after the ceiling still stands behind a start under way.
    """
    return max(now_utc, min(now_utc + quiet, ceiling_utc))
