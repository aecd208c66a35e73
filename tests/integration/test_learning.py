"""From answers to labels and worklists, in a real database: ten thousand answers, and one study from its image to its label."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from dicom_node.cli import main
from dicom_node.config.load import load_settings
from dicom_node.core.codes import Code
from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.core.findings import Decision, Finding, Findings, Flag, Zone
from dicom_node.feedback.readers import identify
from dicom_node.feedback.step import Desk, record
from dicom_node.feedback.tasks import open_task
from dicom_node.home import Home
from dicom_node.learning import repository, step
from dicom_node.learning.worklists import CHOSEN_WHY, DRAWN
from dicom_node.node import prepare
from dicom_node.stages.rooms import Rooms
from dicom_node.stages.worklists import Worklists, is_drawn, radiologists
from dicom_node.store import tables
from tests.factories.phantom_dicom import chest
from tests.integration.in_process import InProcessNode

READERS = [{"name": f"Reader^{name}", "role": "radiologist", "login": name} for name in "abc"]
ABNORMAL = Code("263654008", "SCT", "Abnormal")
#: Results 0 to 3999 are answered, the others are not.
ANSWERED, ALL = 4000, 4400


def truth(n: int) -> bool:
    return n % 3 == 0


def differs(n: int, name: str) -> bool:
    return (name == "c" and n % 8 == 0) or (name == "b" and n % 20 == 2)


def answers_of(n: int) -> str:
    """Who read result n."""
    return {0: "abc", 1: "abc", 2: "ab", 3: "ac"}[n % 4]


def findings_of(n: int) -> Findings:
    """What the model says: right, and very certain of every eighth; of the unread, a quarter of each kind of doubt."""
    if n < ANSWERED:
        p, zone, flags = (0.98 if n % 8 == 0 else 0.8), Zone.SUSPECTED, ()
        if not truth(n):
            p, zone = 1 - p, Zone.NOT_SUSPECTED
    else:
        p, zone, flags = [
            (0.55, Zone.GRAY, ()),
            (0.45, Zone.NOT_SUSPECTED, ()),
            (0.48, Zone.GRAY, (Flag("under_exposed", "Dark."),)),
            (0.05, Zone.NOT_SUSPECTED, ()),
        ][n % 4]
    decision = Decision.POSITIVE if p >= 0.5 else Decision.NEGATIVE
    return Findings(
        "cxr_tb", findings=(Finding("abnormal", ABNORMAL, decision, p, 0.5, 0.46, 0.7),), zone=zone, headline="…", flags=flags
    )


@dataclass
class Site:
    rooms: Rooms
    pseudonyms: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A home with 4,400 results and 10,001 answers of three radiologists."""
    home = Home(tmp_path_factory.mktemp("learning"))
    home.config.write_text(yaml.safe_dump({"site": {"timezone": "UTC"}, "readers": READERS}))
    settings = load_settings(home.config)
    rooms = Rooms(home, settings, prepare(home, settings), None)  # type: ignore[arg-type]
    # which pseudonym is whose: the names are told apart by giving one reader at a time
    names = {}
    for name, entry in zip("abc", settings.readers, strict=True):
        alone = settings.model_copy(update={"readers": (entry,)})
        (names[name],) = radiologists(Rooms(home, alone, rooms.database, None))  # type: ignore[arg-type]
    now = time.time()
    studies, runs, verdicts = [], [], []
    for n in range(ALL):
        findings = findings_of(n)
        folder = home.results / f"run-{n}"
        folder.mkdir()
        (folder / "findings.json").write_text(json.dumps(findings.to_json()))
        studies.append(
            {
                "study_key": f"st_{n}",
                "study_instance_uid": f"1.2.{n}",
                "state": "routed",
                "first_received_utc": now,
                "last_received_utc": now,
                "ceiling_utc": now,
            }
        )
        summary = {"probabilities": {"abnormal": findings.findings[0].probability}, "decision": findings.decision}
        runs.append(
            {
                "run_key": f"run-{n}",
                "study_key": f"st_{n}",
                "pipeline": "cxr_tb",
                "rule": "chests",
                "revision": 1,
                "state": "analysed",
                "request": {"study_revision": 1},
                "summary": summary,
                "requested_utc": now,
                "finished_utc": now,
            }
        )
        for name in answers_of(n) if n < ANSWERED else "":
            said = Verdict.REJECTED if differs(n, name) else Verdict.ACCEPTED
            verdicts.append(row(len(verdicts) + 1, n, names[name], said, truth(n), now))
    reference = {"reference_standard": "culture", "reference_value": "positive", "verdict": "amended", "label_after": "unsure"}
    verdicts.append(row(len(verdicts) + 1, 1, names["a"], Verdict.AMENDED, truth(1), now) | reference | {"finding": ""})
    with rooms.database.begin() as connection:
        connection.execute(sa.insert(tables.study), studies)
        connection.execute(sa.insert(tables.run), runs)
        connection.execute(sa.insert(tables.verdict), verdicts)
        repository.add_golden(connection, "st_4001", "abnormal", "absent")
        repository.add_golden(connection, "st_4005", "abnormal", "absent")
    yield Site(rooms, names)
    rooms.database.dispose()


def row(number: int, n: int, reader: str, verdict: Verdict, positive: bool, at_utc: float) -> dict[str, Any]:
    """Return a row of the log; every other one speaks of the whole result."""
    return {
        "number": number,
        "feedback_id": f"f{number}",
        "at_utc": at_utc,
        "said_utc": at_utc,
        "source": f"s{number}",
        "run_key": f"run-{n}",
        "study_key": f"st_{n}",
        "finding": "abnormal" if number % 2 else "",
        "verdict": verdict.value,
        "strength": "strong",
        "channel": "web",
        "context": "after_ai",
        "reader": reader,
        "reader_role": "radiologist",
        "ai_shown": True,
        "label_before": "positive" if positive else "negative",
        "label_after": "",
        "reference_standard": "none",
        "reference_value": "",
        "previous_hash": "",
        "row_hash": "",
    }


def test_ten_thousand_answers_give_the_labels_counted_by_hand(site: Site) -> None:
    began = time.perf_counter()
    with site.rooms.database.connect() as connection:
        labels, weights = step.labels(connection)
    assert time.perf_counter() - began < 30
    # of 4,000: every eighth has c alone on the other side, every twentieth one of two; result 1 is known by culture
    assert Counter(label.status.value for label in labels) == {
        "consensus": 3299,
        "low_consensus": 500,
        "conflicted": 200,
        "reference": 1,
    }
    for label in labels:
        n = int(label.run_key.removeprefix("run-"))
        if label.status.value == "consensus":
            assert label.label == float(truth(n))
        elif label.status.value == "low_consensus":
            # a and b accepted (0.25 each), c rejected (0.5), each times how the reader counts
            own = {name: weights[site.pseudonyms[name], "abnormal"].weight for name in "abc"}
            share = 0.25 * (own["a"] + own["b"]) / (0.25 * (own["a"] + own["b"]) + 0.5 * own["c"])
            assert label.label == pytest.approx(share if truth(n) else 1 - share)
        elif label.status.value == "reference":
            assert (n, label.label) == (1, 1.0)
    assert weights[site.pseudonyms["a"], "abnormal"].overlap == 3999  # and is unsure of result 1 now
    assert weights[site.pseudonyms["c"], "abnormal"].weight < weights[site.pseudonyms["b"], "abnormal"].weight


def test_the_worklists_are_filled_with_the_right_reasons(site: Site) -> None:
    assert Worklists(site.rooms).fill() == ALL
    with site.rooms.database.connect() as connection:
        items = step.items(connection)
    reasons = Counter((item.kind, item.why) for item in items)
    drawn = [n for n in range(ANSWERED, ALL) if is_drawn(site.rooms.home, f"run-{n}", 0.05)]
    assert 3 <= len(drawn) <= 45
    assert reasons == {
        ("gray_zone", "In the gray zone: a person decides before it is reported."): 100,
        ("mandatory_audit", "Called not suspected with a certainty of only 0.55."): 100,
        ("mandatory_audit", "Negative for abnormal, at or above the lower threshold, and the image has warnings."): 100,
        ("mandatory_audit", "A reference test found abnormal; the result was negative."): 1,
        ("high_confidence_confusion", "A reader contradicts the result on abnormal, which was certain (0.98)."): 500,
        ("low_consensus", "3 readers differ on abnormal: one more reader is asked."): 500,
        ("low_consensus", "2 readers differ on abnormal: one more reader is asked."): 200,
        ("random_audit", DRAWN): len(drawn),
        ("golden_case", DRAWN): 6,
    }
    hours = {item.kind: round((item.due_utc - item.opened_utc) / 3600) for item in items if item.due_utc}
    assert hours["gray_zone"] == 4
    assert hours["mandatory_audit"] == 24
    assert items == sorted(items, key=lambda item: item.due_utc or 0)
    # a worker that starts again asks nothing twice
    Worklists(site.rooms).fill()
    with site.rooms.database.connect() as connection:
        assert len(step.items(connection)) == len(items)


def test_a_reader_is_not_asked_again_and_cannot_tell_a_golden_case(site: Site) -> None:
    with site.rooms.database.connect() as connection:
        by_reader = {name: step.items(connection, site.pseudonyms[name]) for name in "abc"}
        everybody = step.items(connection)
    asked_again = {name: sum(item.kind == "low_consensus" for item in items) for name, items in by_reader.items()}
    assert asked_again == {"a": 0, "b": 0, "c": 200}  # c has read all but those that a and b differ on
    for items in by_reader.values():
        assert not any("golden" in json.dumps(item.to_json()) for item in items)
        golden = [item for item in items if item.study_key in ("st_4001", "st_4005") and item.kind == "random_audit"]
        assert [(item.why, item.reader) for item in golden] == [(DRAWN, "")] * 2
    assert sum(item.kind == "golden_case" for item in everybody) == 6


def test_the_lists_can_be_read_by_programs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(site.rooms.home.path)]
    assert main(["learning", "worklists", "--json", "--kind", "low_consensus", *home]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 700
    assert set(lines[0]) == {
        *("task_id", "kind", "run_key", "study_key", "why", "opened_utc", "due_utc", "overdue", "reader"),
    }
    assert main(["learning", "labels", "--json", "--run", "run-8", *home]) == 0
    (label,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert label["status"] == "low_consensus"
    assert [read["value"] for read in label["reads"]] == [0.0, 0.0, 1.0]
    assert main(["learning", "labels", "--study", "st_2", *home]) == 0
    assert "conflicted" in capsys.readouterr().out
    assert main(["learning", "golden", "list", *home]) == 0
    assert capsys.readouterr().out.splitlines() == ["st_4001  abnormal  absent", "st_4005  abnormal  absent"]
    assert main(["learning", "golden", "add", "st_none", "--label", "absent", *home]) == 2


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> InProcessNode:
    return InProcessNode(tmp_path_factory.mktemp("node") / "n", readers=READERS, learning={"worklists": {"random_share": 1.0}})


def test_an_image_an_answer_a_label(node: InProcessNode, capsys: pytest.CaptureFixture[str]) -> None:
    rooms, home = node.rooms, ["--home", str(node.rooms.home.path)]
    image = chest()
    story = node.answer(image)
    study, run_key = story["study_key"], story["runs"][0]["run_key"]
    lists = Worklists(rooms)
    assert lists.fill() == 1
    with rooms.database.connect() as connection:
        asked = {item.kind for item in step.items(connection)}
    assert "random_audit" in asked

    # it is open, so it may be asked about; what the network made of it was kept
    capsys.readouterr()
    assert main(["learning", "next", "--json", "--count", "3", "--ask", *home]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["study_key"] == study
    with rooms.database.connect() as connection:
        assert ("chosen_to_learn", CHOSEN_WHY) in {(item.kind, item.why) for item in step.items(connection)}

    desk = Desk(rooms.home, rooms.settings.readers, rooms.settings.feedback)
    claim = Claim(
        Channel.WEB,
        "form-1",
        at=dt.datetime.now(dt.UTC),
        targets=Targets(run_key=run_key),
        reader=ReaderClaim("login", "a", authenticated=True),
        statements=(Statement(Verdict.AMENDED, "abnormal", label_after="absent"),),
    )
    with rooms.database.begin() as connection:
        assert record(connection, claim, desk=desk).state == "read"
    with rooms.database.connect() as connection:
        assert step.items(connection) == []
        (label,), _ = step.labels(connection, study_key=study)
    assert (label.label, label.status, label.reads[0].context) == (0.0, "single_read", "random_audit")
    assert main(["learning", "next", *home]) == 0
    assert "0 of 0 unanswered results" in capsys.readouterr().out
    lists.fill()
    with rooms.database.connect() as connection:
        assert step.items(connection) == []  # what was answered is not asked again


def test_an_answer_to_a_golden_case_is_counted_and_labels_nothing(node: InProcessNode, capsys: pytest.CaptureFixture[str]) -> None:
    rooms, home = node.rooms, ["--home", str(node.rooms.home.path)]
    with rooms.database.begin() as connection:
        (run_key, study) = connection.execute(sa.select(tables.run.c.run_key, tables.run.c.study_key)).first() or ("", "")
        before = step.labels(connection)[0]
    assert main(["learning", "golden", "add", study, "--label", "present", *home]) == 0
    (b,) = [name for name in radiologists(rooms) if name not in {read.reader for one in before for read in one.reads}][:1]
    login = next(
        entry.login
        for entry in rooms.settings.readers
        if identify(ReaderClaim("login", entry.login), (entry,), rooms.home.token).pseudonym == b
    )
    with rooms.database.begin() as connection:
        open_task(connection, "golden_case", run_key, study, DRAWN, None, b)
        desk = Desk(rooms.home, rooms.settings.readers, rooms.settings.feedback)
        claim = Claim(
            Channel.WEB,
            "form-2",
            at=dt.datetime.now(dt.UTC),
            targets=Targets(run_key=run_key),
            reader=ReaderClaim("login", login, authenticated=True),
            statements=(Statement(Verdict.AMENDED, "abnormal", label_after="absent"),),
        )
        assert record(connection, claim, desk=desk).state == "read"
        assert step.labels(connection)[0] == before
        assert step.golden_accuracy(connection) == {b: (0, 1)}
    capsys.readouterr()
    assert main(["learning", "golden", "list", *home]) == 0
    assert "0 of 1 right  too few" in capsys.readouterr().out


def test_nothing_is_asked_about_a_result_that_was_withdrawn(node: InProcessNode) -> None:
    rooms = node.rooms
    with rooms.database.begin() as connection:
        (run_key, study) = connection.execute(sa.select(tables.run.c.run_key, tables.run.c.study_key)).first() or ("", "")
        open_task(connection, "amend", run_key, study, "Somebody asked to say more.")
        assert "amend" in {item.kind for item in step.items(connection)}
        connection.execute(sa.update(tables.run).values(state="withdrawn"))
        assert step.items(connection) == []
    Worklists(rooms).fill()
    with rooms.database.connect() as connection:
        closed = connection.execute(sa.select(tables.task.c.closed_by).where(tables.task.c.kind == "amend")).scalar()
        assert closed == "The result was replaced or withdrawn."
        assert step.labels(connection)[0] == []
