"""Augmented copies of a chest set, made once and used by many trainings: so remedies and candidates are compared at a small cost.

Every copy has its own seed, so that it is the same whoever asks for it. A training uses a copy only if the image *and* the image
whose histogram was borrowed lie in its own training rows: what is held out stays held out, its grey values too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.cxr.augment import quantiles
from models.training.cxr.chest_set import ChestSet, copy_of, group_of, shares
from models.training.cxr.remedies import Remedies
from models.training.cxr.stability import changed
from pipelines.blocks.prepare_cxr import only_lungs

#: Share of the picture that must be lung, so that moving the picture cannot push all of it out.
LEAST_LUNG = 0.02
Indices = NDArray[np.intp]
Images = NDArray[np.float32]


@dataclass(frozen=True)
class Views:
    """One entry a copy: its image, the image that lends the histogram (-1: none), whether an opacity is pasted, its number."""

    row: Indices
    donor: Indices
    pasted: NDArray[np.bool_]
    number: Indices

    def __len__(self) -> int:
        return len(self.row)


def plan(chest: ChestSet, rows: Indices, copies: int, remedies: Remedies, seed: int = 11) -> Views:
    """Return ``copies`` entries for every row, and as many with a pasted opacity for normals that have lungs.

    With borrowing, a part 0.6 of the copies has a donor among ``rows``: more than the recipe's 0.5, for those of held-out donors
    are not used.
    """
    entries: list[tuple[int, int, bool, int]] = []
    for index in rows:
        rng = np.random.default_rng([seed, int(index)])
        may_be_pasted = chest.rows[index].abnormal == 0 and (chest.lungs[index] > 0.5).mean() > LEAST_LUNG
        for number in range(copies * (2 if may_be_pasted else 1)):
            borrows = remedies.histogram and rng.random() < 0.6
            entries.append((int(index), int(rng.choice(rows)) if borrows else -1, number >= copies, number))
    columns = np.array(entries, np.intp).T
    return Views(columns[0], columns[1], columns[2].astype(bool), columns[3])


def pictures(chest: ChestSet, views: Views, remedies: Remedies, at_once: int = 128, seed: int = 12) -> Iterator[Images]:
    """Yield the copies in their order, (n, size, size) with values 0..1, a part at a time."""
    curves: dict[int, NDArray[np.float32]] = {}

    def curve(index: int) -> NDArray[np.float32]:
        if index not in curves:
            curves[index] = quantiles(chest.images[index])
        return curves[index]

    for start in range(0, len(views), at_once):
        part = []
        for n in range(start, min(start + at_once, len(views))):
            index, donor = int(views.row[n]), int(views.donor[n])
            rng = np.random.default_rng([seed, index, int(views.number[n])])
            borrowed = None if donor < 0 else (curve(index), curve(donor))
            image, pasted = copy_of(rng, chest.images[index], chest.lungs[index], borrowed, bool(views.pasted[n]), remedies)
            if pasted != views.pasted[n]:
                raise ValueError("the lungs left the picture when it was moved: a copy without an opacity is not abnormal")
            part.append(image)
        yield np.stack(part)


def plain(chest: ChestSet, rows: Indices, remedies: Remedies, change: str = "") -> Images:
    """Return the images as they would be judged, after one of ``stability.CHANGES`` where named; masked where that is a remedy."""
    images = chest.images[rows]
    if change:
        images = changed(images, change)
    if not remedies.masked:
        return images
    return np.stack([only_lungs(image, chest.lungs[index]) for image, index in zip(images, rows, strict=True)])


def draws(chest: ChestSet, views: Views, chosen: Indices, remedies: Remedies, count: int, seed: int) -> Indices:
    """Return ``count`` numbers of views, drawn as ``chest_set.batches`` draws images: balanced, a share of the normals pasted."""
    rng = np.random.default_rng(seed)
    mine = np.zeros(len(chest.rows) + 1, bool)
    mine[chosen] = True
    mine[-1] = True  # no donor
    usable = mine[views.row] & mine[views.donor]
    by_row: dict[tuple[int, bool], list[int]] = {}
    for at in np.flatnonzero(usable):
        by_row.setdefault((int(views.row[at]), bool(views.pasted[at])), []).append(int(at))
    rows = sorted({row for row, pasted in by_row if not pasted})
    groups: dict[int, dict[tuple[str, str], list[int]]] = {0: {}, 1: {}}
    for row in rows:
        groups[chest.rows[row].abnormal].setdefault(group_of(chest.rows[row]), []).append(row)
    members = {label: list(named.values()) for label, named in groups.items()}
    weights = {label: shares(listed) if listed else None for label, listed in members.items()}
    normal_share = 0.5 / (1 - remedies.pasted / 2)
    drawn = np.zeros(count, np.intp)
    for n in range(count):
        if remedies.balanced and members[0] and members[1]:
            label = int(rng.random() >= normal_share)
            group = members[label][rng.choice(len(members[label]), p=weights[label])]
            row = group[int(rng.integers(len(group)))]
        else:
            row = rows[int(rng.integers(len(rows)))]
        paste = rng.random() < remedies.pasted and (row, True) in by_row
        copies = by_row[row, paste]
        drawn[n] = copies[rng.integers(len(copies))]
    return drawn


def labels(chest: ChestSet, views: Views) -> NDArray[np.intp]:
    """Return 1 for copies that count as abnormal: the abnormal images and every pasted one."""
    return np.array([max(chest.rows[r].abnormal, int(p)) for r, p in zip(views.row, views.pasted, strict=True)], np.intp)
