"""``dicom-node learning``: what readers are asked, which labels their answers give, and cases whose answer is known (golden)."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dicom_node.commands.database import opened
from dicom_node.commands.learning_export import add_export
from dicom_node.core.errors import UsageError
from dicom_node.feedback.tasks import open_task
from dicom_node.learning import repository, step
from dicom_node.learning.labels import Label, ReaderWeight
from dicom_node.learning.sampling import STRATEGIES
from dicom_node.learning.worklists import CHOSEN_WHY, DRAWN, Worklist
from dicom_node.stages.next_cases import choose_next
from dicom_node.store.connect import reading

#: Below this share of golden cases right, a reader's answers should not be trained on before somebody has looked at them.
LEAST_GOLDEN = 0.80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    asked = actions.add_parser("worklists", help="list what readers are asked, the most urgent first")
    asked.add_argument("--kind", default="", choices=["", *(kind.value for kind in Worklist), "amend"], help="only this list")
    asked.set_defaults(learn=worklists)
    made = actions.add_parser("labels", help="list the labels that the answers give, and who counts for how much")
    made.add_argument("--run", dest="result", default="", metavar="RUN", help="only of this result")
    made.add_argument("--study", default="", metavar="STUDY", help="only of this study (st_…)")
    made.set_defaults(learn=labels)
    more = actions.add_parser("next", help="say which unanswered results teach most")
    more.add_argument("--count", type=int, default=20, help="how many (default 20)")
    more.add_argument("--strategy", choices=sorted(STRATEGIES), help="default: learning.strategy of node.yaml")
    more.add_argument("--ask", action="store_true", help="put them before readers: a task for each")
    more.set_defaults(learn=next_cases)
    golden = actions.add_parser("golden", help="list, add or remove cases whose answer is known")
    golden.add_argument("what", choices=["list", "add", "remove"])
    golden.add_argument("study", nargs="?", default="", help="study (st_…)")
    golden.add_argument("--finding", default="", help="key of the finding, e.g. abnormal; may be left out where there is one only")
    golden.add_argument("--label", choices=["present", "absent"], help="what is known to be true")
    golden.set_defaults(learn=golden_cases)
    add_export(actions)
    for one in (asked, made, more, golden):
        one.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
        one.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Do what the action says."""
    return int(options.learn(options))


def worklists(options: argparse.Namespace) -> int:
    """List open tasks as they are: for whoever runs the node, golden cases by their name."""
    with opened(options.home) as (database, _, _), reading(database) as connection:
        found = step.items(connection, kind=options.kind)
    if options.json:
        for item in found:
            print(json.dumps(item.to_json(), ensure_ascii=False))
        return 0
    for item in found:
        late = "  OVERDUE" if item.overdue else ""
        print(f"{_when(item.due_utc)}  {item.kind:26}  {item.study_key}  {item.why}{late}")
    by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(item.kind for item in found).items()))
    print(f"{len(found)} open" + (f": {by_kind}" if found else ""))
    return 0


def labels(options: argparse.Namespace) -> int:
    """List labels; then readers by how much they count, and what is no label."""
    with opened(options.home) as (database, _, _), reading(database) as connection:
        made, weights = step.labels(connection, [options.result] if options.result else None, options.study)
        unlabelled = step.unlabelled(connection)
    if options.json:
        for one in made:
            print(json.dumps(label_json(one, weights), ensure_ascii=False))
        return 0
    for one in made:
        value = "?" if one.label is None else f"{one.label:.2f}"
        told = f"{one.n_readers} reader{'' if one.n_readers == 1 else 's'}  entropy {one.entropy:.2f}  weight {one.weight:g}"
        print(f"{one.study_key}  {one.finding:16}  {value}  {one.status:13}  {told}")
    counts = Counter(one.status.value for one in made)
    print(f"{len(made)} labels, {sum(one.eligible for one in made)} may be trained on" + _listed(counts))
    for (reader, finding), known in sorted(weights.items()):
        told = "too little to tell how good" if known.accuracy is None else f"accuracy {known.accuracy:.2f} by agreement"
        print(f"{reader[:11]}…  {finding:16}  {known.overlap} shared cases, {told}, counts {known.weight:.2f}")
    if unlabelled:
        print(f"{unlabelled.total()} answers are no labels, because nobody vouches for their reader" + _listed(unlabelled))
    return 0


def label_json(one: Label, weights: dict[tuple[str, str], ReaderWeight]) -> dict[str, Any]:
    """Return a label with the answers it was made of."""
    return {
        "run_key": one.run_key,
        "study_key": one.study_key,
        "finding": one.finding,
        "label": one.label,
        "n_readers": one.n_readers,
        "entropy": round(one.entropy, 6),
        "status": one.status.value,
        "basis": one.basis,
        "eligible": one.eligible,
        "weight": one.weight,
        "reads": [
            {
                "feedback_id": row.feedback_id,
                "reader": row.reader,
                "context": row.context.value,
                "verdict": row.verdict.value,
                "value": row.value,
                "reader_weight": round(weights.get((row.reader, row.finding), ReaderWeight(0)).weight, 6),
                "reference_standard": row.reference_standard.value,
                "reference_positive": row.reference_positive,
            }
            for row in one.reads
        ],
    }


def next_cases(options: argparse.Namespace) -> int:
    """List, or ask about, the results that the strategy chooses."""
    if options.count < 1:
        raise UsageError("--count must be at least 1")
    with opened(options.home) as (database, settings, home):
        learning = settings.learning
        strategy = options.strategy or learning.strategy
        with reading(database) as connection:
            chosen = choose_next(
                connection, home, options.count, strategy, learning.random_part, repository.last_number(connection)
            )
        if options.ask:
            due = time.time() + learning.worklists.due_hours.random_audit * 3600
            with database.begin() as connection:
                for one in chosen.cases:
                    kind = Worklist.RANDOM_AUDIT if one.by_chance else Worklist.CHOSEN
                    open_task(connection, kind.value, one.run_key, one.study_key, DRAWN if one.by_chance else CHOSEN_WHY, due)
    for one in chosen.cases:
        if options.json:
            print(json.dumps(asdict(one)))
        else:
            print(f"{one.study_key}  {one.score:.3f}  {'drawn at random' if one.by_chance else strategy}")
    if not options.json:
        left_out = f"; {chosen.left_out} left out: made by another network, or opted out" if chosen.left_out else ""
        print(f"{len(chosen.cases)} of {chosen.open} unanswered results{left_out}")
    return 0


def golden_cases(options: argparse.Namespace) -> int:
    """List, add or remove golden cases."""
    with opened(options.home) as (database, _, _):
        if options.what == "list":
            with reading(database) as connection:
                rows = repository.golden_cases(connection)
                readers = step.golden_accuracy(connection)
            for row in rows:
                entry = {"study_key": row.study_key, "finding": row.finding, "label": row.label, "run_key": row.run_key or ""}
                note = "" if row.run_key else "  no result stands"
                print(json.dumps(entry) if options.json else f"{row.study_key}  {row.finding}  {row.label}{note}")
            for reader, (right, answered) in sorted(readers.items()):
                score = {"reader": reader, "right": right, "answered": answered}
                doubt = "  too few: look at this reader's answers" if right < LEAST_GOLDEN * answered else ""
                print(json.dumps(score) if options.json else f"{reader[:11]}…  {right} of {answered} right{doubt}")
            return 0
        if not options.study:
            raise UsageError(f"say which study: dicom-node learning golden {options.what} STUDY")
        with database.begin() as connection:
            if options.what == "remove":
                print(
                    f"{repository.remove_golden(connection, options.study)} findings of {options.study} are no golden case any more"
                )
                return 0
            if options.label is None:
                raise UsageError("say what is known to be true: --label present, or --label absent")
            known = repository.findings_of(connection, options.study)
            if not known:
                raise UsageError(f"{options.study} has no result that stands: only what was analysed can be a golden case")
            finding = options.finding or (known[0] if len(known) == 1 else "")
            if finding not in known:
                raise UsageError(f"--finding must be one of: {', '.join(known)}")
            repository.add_golden(connection, options.study, finding, options.label)
        print(f"{options.study} is a golden case: {finding} {options.label}. Readers meet it among the random ones, unmarked.")
        return 0


def _listed(counts: Counter[str]) -> str:
    return ": " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) if counts else ""


def _when(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment)) if moment is not None else "no time set     "
