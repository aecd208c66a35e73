"""The trainings of a study side by side: a process each, one thread each.

The layers of a reduced network are too small to be divided: a second thread makes it a tenth faster, a second process nearly twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from models.training.side_by_side import side_by_side
from models.training.slices.cohort import Cohort
from models.training.slices.study import Training, Wanted


def train_side_by_side(cohort: Cohort, wanted: Sequence[Wanted], keep_in: Path, processes: int) -> None:
    """Do what is not kept yet; with one process, or with a GPU, nothing: ``study.train`` then does one after the other."""
    if processes > 1 and wanted and not torch.cuda.is_available():
        side_by_side([partial(_keep, Training.of(cohort, one), keep_in) for one in wanted], processes)


def _keep(training: Training, keep_in: Path) -> None:
    training.kept(keep_in, _say, threads=1)


def _say(text: str) -> None:
    print(text, flush=True)
