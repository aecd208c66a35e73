"""What comparisons of candidates and remedies share: prepared images, augmented copies, descriptions, fits; all kept in a folder.

Development setting: 160 x 160, EfficientNet-Lite0 frozen up to block 5, five augmented copies an image. Every array that was made
lies in the folder, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import thumbnail
from models.training.cxr import chest_set
from models.training.cxr import views as chest_views
from models.training.cxr.chest_set import ChestSet
from models.training.cxr.classifiers import FROZEN
from models.training.cxr.fine_tune import BATCH, EPOCHS, Sample
from models.training.cxr.remedies import Remedies
from models.training.cxr.views import Indices, Views
from models.training.data import Row, adult, index_hash, read_index, thumbnails
from models.training.kept_fits import Arrays, kept

PARTS = ("train", "selection", "test")  # calibration is never looked at here
KERMANY = "kermany_pediatric"
VIEW_COLUMNS = ("row", "donor", "pasted", "number")


class Bench:
    """Rows of the research set and everything that is made of them.

    Parameters
    ----------
    base
        ``preprocessing`` of the recipe without its data-driven numbers.
    size, copies, draws
        Side of the pictures; augmented copies an image (of children half); images drawn for one training.
    """

    def __init__(
        self, data: Path, lungs: Path, work: Path, base: dict[str, Any], size: int = 160, copies: int = 5, draws: int = 3200
    ) -> None:
        self.data, self.lungs, self.work = data, lungs, work
        self.base, self.size, self.copies = {**base, "size": size}, size, copies
        self.draws = draws // (BATCH * EPOCHS) * BATCH * EPOCHS
        rows = [row for row in read_index(data) if row.part in PARTS]
        self.rows = [row for row in rows if adult(row)] + [row for row in rows if row.source == KERMANY]
        self.sources = sorted({row.source for row in self.rows})
        self.facts: dict[str, Any] = {
            "index": index_hash(data),
            "lungs": (lungs.parent.name, lungs.name),
            "base": self.base,
            "copies": copies,
        }
        self._chests: dict[bool, ChestSet] = {}
        self._thumbnails: NDArray[np.float64] | None = None

    def setting(self) -> str:
        """Return in words what a training of the comparison is."""
        return (
            f"Setting: {self.size} x {self.size} pixels, the first {FROZEN} of 16 blocks of EfficientNet-Lite0 frozen, "
            f"{self.copies} augmented copies an image, {self.draws} images drawn a training; lungs by {self.facts['lungs'][0]} "
            f"{self.facts['lungs'][1]}. cnn3 at 112 x 112, from nothing, with as many images drawn."
        )

    def where(self, wanted: Callable[[Row], bool]) -> Indices:
        """Return the numbers of the rows that are wanted."""
        return np.flatnonzero([wanted(row) for row in self.rows])

    def chest(self, crop: bool) -> ChestSet:
        """Return the prepared images, adults first, with the lung crop or without."""
        if crop not in self._chests:
            stored = kept(self.work, "images", {**self.facts, "crop": crop}, lambda: self._prepare(crop))
            self._chests[crop] = ChestSet(
                self.rows,
                stored["images"].astype(np.float32),
                stored["lungs"].astype(np.float32),
                stored["mean"],
                stored["spread"],
                json.loads(str(stored["config"])),
                int(stored["without"]),
            )
        return self._chests[crop]

    def _prepare(self, crop: bool) -> Arrays:
        base = self.base if crop else {**self.base, "crop": "none"}
        adults = chest_set.load(self.data, [row for row in self.rows if adult(row)], self.lungs, base)
        young = [row for row in self.rows if not adult(row)]
        sets = [adults, chest_set.load(self.data, young, self.lungs, base, adults.config)] if young else [adults]
        return {
            "images": np.concatenate([one.images for one in sets]).astype(np.float16),
            "lungs": np.concatenate([one.lungs for one in sets]).astype(np.float16),
            "mean": np.concatenate([one.mean for one in sets]),
            "spread": np.concatenate([one.spread for one in sets]),
            "config": np.array(json.dumps(adults.config)),
            "without": np.array(sum(one.without_lungs for one in sets)),
        }

    def described(self, classifier: Any, remedies: Remedies, rows: Indices, change: str = "") -> NDArray[np.float16]:
        """Return the description of plain images, after a change where named."""
        chest = self.chest(remedies.crop)

        def make() -> Arrays:
            parts = []
            for start in range(0, len(rows), 256):
                pictures = chest_views.plain(chest, rows[start : start + 256], remedies, change)
                parts.append(classifier.describe(pictures, chest.config["mean"], chest.config["std"]))
            return {"described": np.concatenate(parts)}

        # how training images are made shapes nothing here
        facts = {"pixels": (remedies.crop, remedies.masked), "kind": classifier.kind, "rows": rows.tolist(), "change": change}
        return kept(self.work, f"plain-{classifier.kind}", {**self.facts, **facts}, make)["described"]

    def views(self, remedies: Remedies, rows: Indices) -> Views:
        """Return the copies of these rows: the pasted ones are there whether a training draws them or not."""
        young = np.array([not adult(self.rows[i]) for i in rows], bool)
        drawn = replace(remedies, pasted=0.25)
        chest = self.chest(remedies.crop)
        parts = [
            chest_views.plan(chest, some, copies, drawn)
            for some, copies in ((rows[~young], self.copies), (rows[young], max(1, self.copies // 2)))
            if len(some)
        ]
        return Views(*(np.concatenate([getattr(v, name) for v in parts]) for name in VIEW_COLUMNS))

    def sample(self, classifier: Any, remedies: Remedies, rows: Indices) -> tuple[Views, Sample]:
        """Return copies of these rows, and their descriptions."""
        chest, views = self.chest(remedies.crop), self.views(remedies, rows)

        def make() -> Arrays:
            mean, std = chest.config["mean"], chest.config["std"]
            parts = [classifier.describe(part, mean, std) for part in chest_views.pictures(chest, views, remedies)]
            return {"described": np.concatenate(parts)}

        facts = {"pixels": remedies.pixels, "kind": classifier.kind, "rows": rows.tolist()}
        described = kept(self.work, f"views-{classifier.kind}", {**self.facts, **facts}, make)["described"]
        sources = np.array([self.sources.index(self.rows[i].source) for i in views.row])
        return views, Sample(described, chest_views.labels(chest, views), sources)

    def samples(self, classifier: Any, remedies: Remedies, *groups: Indices) -> tuple[Views, Sample]:
        """Return copies of several groups of rows and their descriptions, one below the other."""
        made = [self.sample(classifier, remedies, rows) for rows in groups if len(rows)]
        whole = Views(*(np.concatenate([getattr(views, name) for views, _ in made]) for name in VIEW_COLUMNS))
        columns = ("described", "labels", "sources")
        return whole, Sample(*(np.concatenate([getattr(s, name) for _, s in made]) for name in columns))

    def fitted(
        self, classifier: Any, remedies: Remedies, sample: tuple[Views, Sample], chosen: Indices, seed: int
    ) -> Any:  # a classifiers.Fitted
        """Return the classifier fitted on the copies of the chosen rows."""
        views, described = sample
        drawn = chest_views.draws(self.chest(remedies.crop), views, chosen, remedies, self.draws, seed)
        return classifier.fit(described, drawn, remedies, seed)

    def thumbnail_logits(self, chosen: Indices, judged: Indices) -> NDArray[np.float64]:
        """Return what the thumbnail baseline, fitted on the chosen rows, says of others."""
        if self._thumbnails is None:
            self._thumbnails = thumbnails(self.data, self.rows)
        model = thumbnail.fit(self._thumbnails[chosen], self.labels(chosen))
        return model.logits(self._thumbnails[judged])

    def labels(self, rows: Indices) -> NDArray[np.intp]:
        """Return 1 for abnormal rows."""
        return np.array([self.rows[i].abnormal for i in rows], np.intp)

    def patients(self, rows: Indices) -> Sequence[str]:
        """Return whose image each is."""
        return [self.rows[i].patient for i in rows]
