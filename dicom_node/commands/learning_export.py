"""``dicom-node learning export``: a de-identified training set; ``lineage``: from its lines back to the answers."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.commands.database import opened
from dicom_node.core.errors import UsageError
from dicom_node.learning.labels import LabelStatus
from dicom_node.store.connect import reading
from dicom_node.store.tables import verdict


def add_export(actions: Any) -> None:
    """Declare both actions."""
    out = actions.add_parser("export", help="write a de-identified training set")
    out.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty or new folder")
    out.add_argument("--since", metavar="YYYY-MM-DD", help="only what was answered since then (UTC)")
    out.add_argument("--pipeline", default="", help="only results of this pipeline")
    statuses = [status.value for status in LabelStatus]
    out.add_argument("--status", nargs="+", default=[], choices=statuses, help="only labels of these kinds")
    out.set_defaults(learn=export_set)
    back = actions.add_parser("lineage", help="say from which answers the labels of an export were made")
    back.add_argument("set", type=Path, metavar="DIR", help="folder of the export")
    back.set_defaults(learn=lineage)
    for one in (out, back):
        one.add_argument("--home", type=Path, required=True, help="folder with node.yaml")
        one.add_argument("--json", action="store_true", help="print JSON")


def export_set(options: argparse.Namespace) -> int:
    """Write a training set and say what is in it."""
    from dicom_node.learning.export import export  # pydicom and the profile: a second that other actions need not wait
    from dicom_node.learning.export_rows import Filter, Privacy
    from dicom_node.stages.opt_outs import has_opted_out, person_of
    from dicom_node.studies.opt_outs import LEARNING

    wanted = Filter(_since(options.since), options.pipeline, tuple(options.status))
    with opened(options.home) as (database, _, home):
        privacy = Privacy(person_of, lambda connection, *who: has_opted_out(connection, home, [who], LEARNING))
        made = export(database, home, options.out.resolve(), wanted, privacy)
    if options.json:
        print(json.dumps(made, ensure_ascii=False))
        return 0
    counts = made["counts"]
    print(f"{counts['labels']} labels of {counts['results']} results, {counts['images']} images, {counts['patients']} patients")
    print("patients: " + ", ".join(f"{number} {name}" for name, number in sorted(counts["patients_by_split"].items())))
    for reason, number in sorted(made["left_out"].items()):
        print(f"left out: {number} {reason}")
    print(f"{made['k_anonymity']['cells_below_k']} groups of age, sex and site have fewer than {made['k_anonymity']['k']} patients")
    print(f"snapshot {made['snapshot']}. Look at the images before they leave the hospital.")
    return 0


def lineage(options: argparse.Namespace) -> int:
    """Say for each label which rows of the log it was made of."""
    from dicom_node.learning.export_lines import feedback_name
    from dicom_node.learning.pseudonyms import Pseudonyms

    try:
        lines = [json.loads(line) for line in (options.set / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{options.set} holds no export: labels.jsonl cannot be read ({type(error).__name__})") from None
    with opened(options.home) as (database, _, home), reading(database) as connection:
        names = Pseudonyms(home.site_key())
        c = verdict.c
        rows = connection.execute(sa.select(c.number, c.feedback_id, c.study_key, c.run_key).order_by(c.number))
        known = {feedback_name(names, row.feedback_id): row for row in rows}
    states: Counter[str] = Counter()
    for line in lines:
        made_of = [known[name] for name in line["feedback_ids"] if name in known]
        states["led back" if len(made_of) == len(line["feedback_ids"]) else "not of this node"] += 1
        if options.json:
            answers = [{"number": row.number, "feedback_id": row.feedback_id} for row in made_of]
            studies = sorted({row.study_key for row in made_of})
            print(json.dumps({"result": line["result"], "finding": line["finding"], "studies": studies, "answers": answers}))
        else:
            told = ", ".join(f"{row.number} ({row.feedback_id})" for row in made_of) or "unknown here"
            print(f"{line['result']}  {line['finding']:16}  {'/'.join(sorted({row.study_key for row in made_of}))}  {told}")
    if not options.json:
        print(", ".join(f"{number} labels {state}" for state, number in sorted(states.items())) or "no labels")
    return 1 if states["not of this node"] else 0


def _since(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        raise UsageError("--since wants a day: YYYY-MM-DD") from None
