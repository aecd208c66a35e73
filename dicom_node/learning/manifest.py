"""The manifest of an export: what it is, of whom as numbers, what was left out and why, and a hash of every file. Pure."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dicom_node.learning.deidentify import EDITION, METHOD
from dicom_node.learning.export_lines import feedback_name, site
from dicom_node.learning.export_rows import Case, Filter
from dicom_node.learning.pseudonyms import SPLITS, Pseudonyms, age_band
from dicom_node.version import VERSION

#: A cell of patients with the same age band, sex and site is told when it has fewer than this.
K = 5


def manifest(
    found: Sequence[Case],
    exported: Sequence[Case],
    files: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, int],
    wanted: Filter,
    names: Pseudonyms,
    opt_outs: int,
) -> dict[str, Any]:
    """Return it as JSON has it.

    Parameters
    ----------
    found, exported
        Results that were wanted; those that are in it.
    opt_outs
        Opt-outs of learning that the node knows.
    """
    patients = _by_patient(exported)
    labels = [label for case in exported for label in case.labels]
    cells = Counter((age_band(case.years), case.sex, site(names)) for case in patients.values())
    return {
        "format": "dicom-node training export, 1",
        "use": "Research only. De-identified, not anonymous: the site can lead each line back. Look at the images before they go.",
        "made_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "node_version": VERSION,
        "site": site(names),
        "snapshot": snapshot(exported, files, names),
        "filter": {"since_utc": wanted.since_utc, "pipeline": wanted.pipeline, "statuses": list(wanted.statuses)},
        "deidentification": {"standard": f"DICOM PS3.15 {EDITION}", "codes": [list(one) for one in METHOD]},
        "counts": {
            "patients": len(patients),
            "studies": len({case.study_key for case in exported}),
            "results": len(exported),
            "images": sum(name.startswith("images/") for name in files),
            "labels": len(labels),
            "labels_eligible": sum(label.eligible for label in labels),
            "by_status": Counter(label.status.value for label in labels),
            "by_finding": Counter(label.finding for label in labels),
            "patients_by_split": Counter(names.split(person) for person in patients),
            "patients_by_sex": Counter(case.sex for case in patients.values()),
            "patients_by_age_band": Counter(age_band(case.years) for case in patients.values()),
            "patients_by_device": Counter(names.name("dv", c.device) if c.device else "unknown" for c in patients.values()),
        },
        "left_out": dict(left_out),
        "opt_outs": {
            "known": opt_outs,
            "results_checked": len(found),
            "results_left_out": sum(case.opted_out for case in found),
        },
        "k_anonymity": {
            "of": ["age_band", "sex", "site"],
            "k": K,
            "cells": [{"age_band": a, "sex": s, "site": p, "patients": n} for (a, s, p), n in sorted(cells.items())],
            "cells_below_k": sum(count < K for count in cells.values()),
        },
        "splits": {name: [buckets.start, buckets.stop - 1] for name, buckets in SPLITS.items()},
        "files": dict(files),
    }


def snapshot(exported: Iterable[Case], files: Mapping[str, Mapping[str, Any]], names: Pseudonyms) -> str:
    """Return the name of this state of the data: a hash of the sorted answers and images, and of nothing else."""
    answers = {feedback_name(names, read.feedback_id) for case in exported for label in case.labels for read in label.reads}
    images = {str(one["sha256"]) for name, one in files.items() if name.startswith("images/")}
    return "sn_" + hashlib.sha256("\n".join([*sorted(answers), *sorted(images)]).encode()).hexdigest()[:32]


def _by_patient(exported: Iterable[Case]) -> dict[str, Case]:
    """Return the first case of each patient."""
    found: dict[str, Case] = {}
    for case in exported:
        found.setdefault(case.person, case)
    return found
