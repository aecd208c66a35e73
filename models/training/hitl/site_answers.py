"""What the node's exports say of a site's patients: first looks, second looks, answers to the maps.

A patient may have several results (each round's network reads them anew): the first of a reader's first looks counts, and the last
of their second looks. A second look counts only where the readers saw the network of the round before, by its bundle's hash: what
another one showed is not what this round asks about. Whatever is not used is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.training.hitl.attention_target import Region
from models.training.hitl.bundle_texts import FINDING
from models.training.hitl.node_export import ExportedCase, on_grid, read_export
from models.training.hitl.protocol import ReExamined, Scores, Shown
from models.training.hitl.site_cohort import SiteCohort


def read_exports(folders: Sequence[Path], patients: Mapping[str, str], readers: Mapping[str, str]) -> dict[str, list[ExportedCase]]:
    """Return the results of the index's patients, of all exports; of a result that comes in several the last.

    ``patients``, ``readers``: the index's names by those of the export; a reader without one keeps the export's.
    """
    by_result = {case.result: case for folder in folders for case in read_export(folder, FINDING)}
    found: dict[str, list[ExportedCase]] = {}
    for case in by_result.values():
        if case.patient in patients:
            first, again = ({readers.get(name, name): said for name, said in part.items()} for part in (case.first, case.again))
            answers = {readers.get(name, name): said for name, said in case.answers.items()}
            named = replace(case, patient=patients[case.patient], first=first, again=again, answers=answers)
            found.setdefault(named.patient, []).append(named)
    return found


def first_reads(cases: Sequence[ExportedCase]) -> dict[str, float]:
    """Return what each reader said at the first look, by reader."""
    return {reader: score for case in reversed(cases) for reader, score in case.first.items()}


@dataclass
class SecondLooks:
    """``protocol.AskAgain`` over exports.

    ``first``: first looks of every patient, score by reader; scores of the protocol stand in the order of the readers' names.
    ``bundles``: hashes of the bundles that were made after round n, by n. ``unused``: what was found and not used, and why.
    """

    cohort: SiteCohort
    cases: Mapping[str, Sequence[ExportedCase]]
    first: Mapping[str, Mapping[str, float]]
    bundles: Mapping[int, Collection[str]]
    unused: list[str] = field(default_factory=list)

    def ask_again(
        self, names: Sequence[str], before: Mapping[str, Scores], shown: Mapping[str, Shown] | None, number: int
    ) -> dict[str, ReExamined]:
        """Return what readers said of these patients in round ``number``; of whom nobody looked again, nothing."""
        found = {}
        for name in names:
            said = self._said(name, before[name], self.bundles.get(number - 1, ()))
            if said is None:
                self.unused.append(f"{name}: nobody looked again in round {number}; the first reads stand")
            else:
                found[name] = said
        return found

    def _said(self, name: str, before: Scores, made: Collection[str]) -> ReExamined | None:
        readers = sorted(self.first[name])
        again: dict[str, float] = {}
        answers: dict[str, int] = {}
        regions: list[Region] = []
        for case in self.cases.get(name, ()):
            if not (case.again or any(case.answers.values()) or case.regions):
                continue
            if not set(case.bundles) & set(made):
                self.unused.append(f"{name}: answers to another network than that of the round before")
                continue
            again |= case.again
            answers |= case.answers
            regions += self._placed(name, case)
        if others := sorted(set(again) - set(readers)):
            self.unused.append(f"{name}: second looks of {', '.join(others)}, who gave no first one")
        if not set(again) & set(readers) and not any(answers.values()) and not regions:
            return None
        scores = tuple(again.get(reader, score) for reader, score in zip(readers, before, strict=True))
        return ReExamined(scores, tuple(answers.get(reader, 0) for reader in readers), tuple(regions))

    def _placed(self, name: str, case: ExportedCase) -> list[Region]:
        scan = self.cohort.scan(name)
        depth, height, width = self.cohort.lungs.shape[1:]
        found = []
        for region in case.regions:
            index = scan.slice_of(region)
            if index is None:
                self.unused.append(f"{name}: a region on an image that is not in the series")
                continue
            corners = region.points
            if len(corners) == 2:  # a box; its corners move together
                (x0, y0), (x1, y1) = corners
                corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
            moved = type(region)(region.image, region.frame, scan.on_slice(corners, index), region.sign, region.reader)
            found.append(on_grid(moved, index, scan.prepared, (depth, height, width)))
        return found
