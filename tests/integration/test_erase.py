"""After ``erase`` no marker of the patient is left in any byte of the home or any row, and everything else goes on."""

from __future__ import annotations

import base64
import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.cli import main
from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Region, Statement, Targets, Verdict
from dicom_node.core.identifiers import study_key
from dicom_node.engine import port
from dicom_node.feedback import chain
from dicom_node.feedback.settings import FeedbackSettings
from dicom_node.feedback.step import Desk, record
from dicom_node.stages import erase
from dicom_node.store import tables
from dicom_node.studies import opt_outs
from dicom_node.studies.safekeeping import set_legal_hold
from tests.factories.hl7_messages import adt, imaging_order, lab, merge
from tests.factories.postgresql import running_postgresql
from tests.integration.in_process import InProcessNode
from tests.integration.test_orders import hear
from tests.integration.test_safety import TWO, chest

MARKER = "ZZMARKER"
UIDS = {"StudyInstanceUID": "1.2.777.1", "SeriesInstanceUID": "1.2.777.2", "SOPInstanceUID": "1.2.777.3"}
SECRETS = (MARKER, MARKER.lower(), "1.2.777.", "19510713")
_TABLES_OF_TEXT = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"


def marked(**elements: Any) -> Dataset:
    """Return a radiograph that says the marker wherever a person, an order or a place is named."""
    words = ("IssuerOfPatientID", "StudyID", "InstitutionName", "StationName", "StudyDescription", "DeviceSerialNumber")
    values: dict[str, Any] = {name: f"{MARKER}{n}" for n, name in enumerate(words)}
    values |= {"PatientID": f"{MARKER}PID", "AccessionNumber": f"{MARKER}ACC", "PatientName": f"{MARKER}^Ä", **UIDS}
    return chest("marked", **{**values, "PatientBirthDate": "19510713", **elements})


def encodings(secret: str) -> Iterator[bytes]:
    """Yield the secret as a file may have it."""
    for name in ("utf-8", "utf-16-le", "utf-16-be"):
        yield secret.encode(name)
    for shift in range(3):  # base64 starts anew every three bytes
        coded = base64.b64encode(b"\0" * shift + secret.encode())
        yield coded[4 if shift else 0 : len(coded) - 4]


def found_in_files(home: Path) -> set[str]:
    """Return the files below the home that hold a secret, in name or bytes."""
    wanted = [coded for secret in SECRETS for coded in encodings(secret)]
    found = set()
    for path in home.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if any(coded in data or coded in os.fsencode(path.name) for coded in wanted):
            found.add(path.relative_to(home).as_posix())
    return found


def found_in_rows(database: sa.Engine) -> set[str]:
    """Return the tables, of every schema, that hold a secret."""
    found = set()
    with database.connect() as connection:
        if database.dialect.name == "sqlite":
            names = [("", name) for name in sa.inspect(connection).get_table_names()]
        else:
            names = [(row[0], row[1]) for row in connection.execute(sa.text(_TABLES_OF_TEXT))]
            names.append(("pg_catalog", "pg_stats"))
        for schema, name in names:
            table = f'"{schema}"."{name}"' if schema else f'"{name}"'
            text = "\n".join(str(tuple(row)) for row in connection.execute(sa.text(f"SELECT * FROM {table}")))
            if any(secret in text for secret in SECRETS):
                found.add(name)
    return found


def walk_the_whole_way(node: InProcessNode) -> str:
    """Order and laboratory told, image analysed and answered, and what other doors leave behind; returns the run's key."""
    pid = f"{MARKER}PID"
    hear(
        node,
        adt("A08", pid, birth="19510713", name=f"{MARKER}^Name"),
        imaging_order(f"{MARKER}ACC", patient=pid, reason=f"{MARKER} cough"),
        lab("543-9^Culture^LN", f"{MARKER} grown", "F", patient=pid),
        merge(f"{MARKER}OLD", pid),
    )
    story = node.answer(marked())
    assert story["runs"][0]["state"] == "analysed"
    run = story["runs"][0]["run_key"]
    database, home, now = node.rooms.database, node.rooms.home, time.time()
    claim = Claim(
        *(Channel.WEB, "form-1", dt.datetime.now(dt.UTC), Targets(run_key=run)),
        reader=ReaderClaim("login", "nobody", f"{MARKER} reader"),
        statements=(Statement(Verdict.REJECTED),),
        regions=(Region(UIDS["SOPInstanceUID"], ((1.0, 2.0), (3.0, 4.0))),),
        comment=f"{MARKER} comment",
        evidence={"report_text": f"{MARKER} report"},
    )
    key, answers = study_key(UIDS["StudyInstanceUID"]), home.store / "answers"
    answers.mkdir()
    (answers / "kos.dcm").write_bytes(f"{MARKER} key objects".encode())
    with database.begin() as connection:
        assert record(connection, claim, desk=Desk(home, (), FeedbackSettings())).state == "read"
        objects = {"door": "answer_ae", "calling_ae": "A", "called_ae": "B", "sop_class_uid": "1.2", "digest": "", "state": "read"}
        objects |= {"study_key": key, "sop_instance_uid": "1.2.777.9", "storage_key": "answers/kos.dcm", "received_utc": now}
        connection.execute(sa.insert(tables.answer_object).values(**objects))
        asked = {"study_key": key, "at_utc": now, "archive": "a", "question": "count", "answer": {"instances": {"1.2.777.2": []}}}
        connection.execute(sa.insert(tables.archive_answer).values(**asked))
        for uid, about in (("1.9.1", ["1.2.777.3"]), ("1.9.2", ["1.2.777.3", "1.2.888"])):
            items = {"called_ae": "B", "objects": [["1.2", one] for one in about]}
            promise = {"transaction_uid": uid, "direction": "answered", "peer": "M", "state": "reported", "items": items}
            connection.execute(sa.insert(tables.commitment).values(**promise, requested_utc=now))
    unclaimed = home.path / "unclaimed" / key[-2:] / key
    unclaimed.mkdir(parents=True)
    (home.store / "incoming").mkdir(exist_ok=True)
    left = [unclaimed / "0.dcm", home.store / key[-2:] / key / "nobody.dcm", home.store / "incoming" / "0.part"]
    for path in left:
        path.write_bytes(MARKER.encode())
        os.utime(path, (now - 3600, now - 3600))
    if database.dialect.name == "sqlite":
        (home.path / "node.sqlite.schema-2").write_bytes(MARKER.encode())
    return str(run)


@contextmanager
def a_database(kind: str) -> Iterator[dict[str, str]]:
    """Yield the settings of a database of this kind."""
    if kind == "sqlite":
        yield {}
        return
    with running_postgresql() as server:
        yield {"database_url": server.url}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_marker_remains_and_the_chain_verifies(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way, then erased; the other patient's study is as it was; the same image again is a new study."""
    with a_database(kind) as section:
        node = InProcessNode(tmp_path, **section)
        home, database = node.rooms.home, node.rooms.database
        other = chest("other")
        before = node.answer(other)
        run = walk_the_whole_way(node)
        assert found_in_rows(database) >= {"instance", "study", "verdict_private", "patient", "lab_result", "imaging_order"}
        assert any(name.startswith("results/") for name in found_in_files(home.path)), "the search finds nothing"
        database.dispose()
        assert main(["erase", "--patient-id", f"{MARKER}PID", "--yes", "--home", str(home.path)]) == 0
        said = capsys.readouterr()
        assert MARKER not in said.out + said.err
        assert found_in_rows(database) == set()
        assert found_in_files(home.path) == set()

        with database.begin() as connection:
            assert chain.verify(connection).problems == ()
            assert connection.execute(sa.select(tables.verdict.c.run_key)).scalars().all() == [run]
            assert [r.transaction_uid for r in connection.execute(sa.select(tables.commitment))] == ["1.9.2"]
        after = node.story(str(other.StudyInstanceUID))
        assert after == before
        story = node.story(UIDS["StudyInstanceUID"])
        assert [line["event"] for line in story["story"]] == ["study.erased"]
        assert (story["state"], story["instances"], story["artifacts"], story["deliveries"]) == ("erased", [], [], [])

        again = node.answer(marked())
        assert [one["state"] for one in again["runs"]] == ["erased", "analysed"]
        assert again["runs"][1]["run_key"] != run
        assert [line["event"] for line in again["story"]][:2] == ["study.erased", "study.opened"]
        database.dispose()
        assert main(["erase", "--study", again["study_key"], "--yes", "--home", str(home.path)]) == 0
        assert found_in_rows(database) == set()
        assert found_in_files(home.path) == set()


@pytest.fixture
def node(tmp_path: Path) -> InProcessNode:
    """A node with an engine."""
    made = InProcessNode(tmp_path, destination=TWO)
    port.prepare_tables(made.rooms.database.url.render_as_string())
    return made


def run_erase(node: InProcessNode, *words: str) -> int:
    """Call the command."""
    return main(["erase", *words, "--yes", "--home", str(node.rooms.home.path)])


def test_legal_hold_is_refused_with_its_cure(node: InProcessNode, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is erased of anything then, also not of the patient's other studies."""
    held, free = chest("held", PatientID="P1"), chest("free", PatientID="P1")
    node.receive(held, free)
    key = study_key(str(held.StudyInstanceUID))
    with node.rooms.database.begin() as connection:
        set_legal_hold(connection, key, held=True)
    assert run_erase(node, "--patient-id", "P1") == 2
    assert f"dicom-node studies hold {key} --release" in capsys.readouterr().err
    assert node.story(str(free.StudyInstanceUID))["state"] == "receiving"
    assert len(list(node.rooms.home.store.rglob("*.dcm"))) == 2


def test_who_is_meant_is_never_guessed(node: InProcessNode, capsys: pytest.CaptureFixture[str]) -> None:
    """One number of two hospitals; a study of two patients; nobody of that name; nobody there to ask."""
    one, two = (chest(name, PatientID="P1", IssuerOfPatientID=name) for name in ("North", "South"))
    mixed = chest("mixed", PatientID="P2"), chest("mixed", PatientID="P3", SOPInstanceUID="1.2.3", instance="2")
    node.receive(one, two, *mixed)
    assert run_erase(node, "--patient-id", "P1") == 2
    assert "north, south" in capsys.readouterr().err
    assert run_erase(node, "--patient-id", "P2") == 2
    assert f"--study {study_key(str(mixed[0].StudyInstanceUID))}" in capsys.readouterr().err
    assert run_erase(node, "--patient-id", "NOBODY") == 2
    assert main(["erase", "--patient-id", "P3", "--home", str(node.rooms.home.path)]) == 2
    assert len(list(node.rooms.home.store.rglob("*.dcm"))) == 4
    assert run_erase(node, "--patient-id", "P1", "--issuer", "SOUTH") == 0
    assert node.story(str(two.StudyInstanceUID))["state"] == "erased"
    assert node.story(str(one.StudyInstanceUID))["state"] == "receiving"


def test_a_wish_outlives_the_person_s_rows(node: InProcessNode) -> None:
    """Opted out under the number that is gone; erased, so that the merge is forgotten; the wish still holds."""
    hear(node, merge("GONE", "LEFT"))
    with node.rooms.database.begin() as connection:
        opt_outs.add(connection, node.rooms.home, "GONE", scope="analysis")
    assert run_erase(node, "--patient-id", "LEFT") == 0
    late = chest("late", PatientID="LEFT")
    assert node.answer(late)["hold_reason"] == "opted_out"


def test_stopped_half_way_the_node_goes_on(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are gone, the files not yet; an image that comes again in between is kept, what was erased goes at the next look."""
    image = chest("half", PatientID="P1")
    story = node.answer(image)
    run, old = story["runs"][0]["run_key"], set(node.rooms.home.store.rglob("*.dcm"))
    database, home = node.rooms.database, node.rooms.home

    def power_cut(*_: object) -> int:
        raise RuntimeError("power cut")

    with database.begin() as connection:
        found = erase.of_patient(connection, "P1")
    with monkeypatch.context() as patch:
        patch.setattr(erase, "finish", power_cut)
        with pytest.raises(RuntimeError):
            erase.erase(database, home, port.Port(database), found)
    assert old == set(home.store.rglob("*.dcm"))
    again = node.answer(image)
    assert again["state"] == "routed"
    new = set(home.store.rglob("*.dcm")) - old
    assert len(new) == 1
    (home.results / run / "late.json").write_text("written by a step that was under way")
    assert erase.finish(database, home) == 0
    assert set(home.store.rglob("*.dcm")) == new
    assert not (home.results / run).exists()
    assert (home.results / again["runs"][1]["run_key"]).exists()


def test_the_engine_forgets_what_waits(node: InProcessNode) -> None:
    """Runs and deliveries of the study are not known to the engine any more; those of others are."""
    submit = port.Port(node.rooms.database)
    with node.rooms.database.begin() as connection:
        for name in ("mine", "other"):
            submit.submit_run(connection, name, 10)
            submit.submit_delivery(connection, f"dl_{name}", 1, "pacs", 10, 60.0)
    submit.forget({"mine"}, {"dl_mine"})
    assert submit.alive("run:") | submit.alive("dlv:") == {"run:other", "dlv:dl_other:1"}


def test_a_step_under_way_is_waited_for(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a worker lives the command waits for it; if it takes too long, the command says so."""
    image = chest("busy", PatientID="P1")
    run = node.answer(image)["runs"][0]["run_key"]
    database = node.rooms.database
    submit = port.Port(database)
    with database.begin() as connection:
        submit.submit_run(connection, run, 10)
        found = erase.of_patient(connection, "P1")
    monkeypatch.setattr(erase, "PATIENCE_SECONDS", 0.5)
    lives: Callable[[], bool] = lambda: True  # noqa: E731
    done = erase.erase(database, node.rooms.home, submit, found, worker_lives=lives)
    assert ["A step was still at work" in one for one in done.problems] == [True]
    assert submit.alive("run:") == set()
