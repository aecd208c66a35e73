"""Answers by "send to", from a real Orthanc: what a person sends counts once, what a machine forwards does not count.

The node's rooms run in this process; its port, Orthanc and DCMTK are real. One Orthanc serves the whole module.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.core.identifiers import study_key
from dicom_node.delivery.step import retry_dead
from dicom_node.demo.peers import LOOPBACK, PACS_AE, OrthancPacs, free_ports, send
from dicom_node.feedback import standing
from dicom_node.feedback.ae_titles import suspension
from dicom_node.node.timers import add_timers
from dicom_node.reception.scp import Receiver, start
from dicom_node.stages.answers import ae_titles
from dicom_node.stages.arrivals import recorder
from dicom_node.store import tables
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.received_objects import part10
from tests.integration.in_process import InProcessNode

IMAGE, _, _ = chest_phantom(seed=3, size=512)
ANSWERS = {"accept": "AINODE_ACCEPT", "reject": "AINODE_REJECT", "amend": "AINODE_AMEND"}
MANY = 20
#: Forwards each new object to the modalities in ``targets``, as an auto-forward rule of a PACS does.
LUA = """
targets = {}
function OnStoredInstance(instanceId, tags, metadata)
  for _, name in ipairs(targets) do SendToModality(instanceId, name) end
end
"""


class Hospital:
    """Orthanc as the PACS, and the node behind its port."""

    def __init__(self, folder: Path) -> None:
        dicom_port, http_port, node_port = free_ports(3)
        script = folder / "forward.lua"
        script.write_text(LUA)
        more = {
            "DicomModalities": {name: [title, LOOPBACK, node_port] for name, title in ANSWERS.items()},
            "LuaScripts": [str(script)],
            "ExecuteLuaEnabled": True,
            "JobsHistorySize": 500,
            "ConcurrentJobs": 8,
            "SaveJobs": False,
            "DicomAssociationCloseDelay": 1,
        }
        self.pacs = OrthancPacs(folder, dicom_port, http_port, "AINODE", node_port, **more)
        pacs = {"kind": "dicom_store", "ae_title": PACS_AE, "host": LOOPBACK, "port": dicom_port}
        pacs |= {"outputs": ["secondary_capture"]}
        callers = [{"ae_title": PACS_AE, "host": LOOPBACK}, {"ae_title": "WS_RAO", "host": LOOPBACK}]
        quick = {"settle_seconds": 0.3, "two_answers_seconds": 1, "early_seconds": 1}
        self.node = InProcessNode(
            folder / "node",
            destination=pacs,
            reception={"host": LOOPBACK, "port": node_port, "peers": [{"ae_title": "SENDER"}, {"ae_title": PACS_AE}]},
            feedback={"answer_ae": {"callers": callers, **quick}},
            readers=[{"name": "Rao^Asha", "role": "radiologist", "ae_titles": ["WS_RAO"]}],
        )
        rooms = self.node.rooms
        self.port = node_port
        self.receiver: Receiver = start(
            rooms.settings.reception,
            home=rooms.home.path,
            database=rooms.database,
            record=recorder(rooms.settings, rooms.home),
            side_doors=ae_titles.side_doors(rooms.settings, rooms.database),
        )

    def close(self) -> None:
        self.receiver.stop(grace_seconds=1)
        self.node.rooms.database.dispose()
        self.pacs.stop()

    def study(self, seed: str, *, with_image: bool = True) -> str:
        """Put a study through: its result, and its image, lie in Orthanc. Returns the Study Instance UID."""
        image = as_radiograph(IMAGE, seed=seed, modality="CR")
        if with_image:
            send([image], self.pacs.dicom_port, PACS_AE, "SENDER")
        self.node.answer(image)
        return str(image.StudyInstanceUID)

    def send_to(self, answer: str, *resources: str) -> None:
        """Use "send to" of Orthanc."""
        body = {"Resources": list(resources), "Synchronous": True}
        told = self.pacs.ask("POST", f"/modalities/{answer}/store", json=body, timeout=60)
        assert told.status_code == 200, told.text

    def series_of_capture(self, study_uid: str) -> str:
        (capture,) = [one for one in self.pacs.fetch(study_uid) if one.SOPClassUID.name.startswith("Secondary")]
        return self.lookup(str(capture.SeriesInstanceUID), "Series")

    def lookup(self, uid: str, kind: str) -> str:
        found = self.pacs.ask("POST", "/tools/lookup", content=uid).json()
        return next(str(item["ID"]) for item in found if item["Type"] == kind)

    def forward_to(self, *answers: str) -> None:
        """Let Orthanc forward each object that is stored from now on."""
        names = ", ".join(f'"{name}"' for name in answers)
        assert self.pacs.ask("POST", "/tools/execute-script", content=f"targets = {{{names}}}").status_code == 200

    def wait_for_jobs(self) -> None:
        """Wait until Orthanc has forwarded everything."""

        def open_jobs() -> bool:
            jobs = self.pacs.ask("GET", "/jobs?expand").json()
            return any(job["State"] in ("Pending", "Running", "Retry") for job in jobs)

        wait(lambda: not open_jobs(), "Orthanc's jobs", 40)

    def judged(self) -> None:
        """Judge as the timer does until nothing waits; an error there is an error here."""

        def nothing_waits() -> bool:
            ae_titles.judge(self.node.rooms)
            return "waiting" not in self.states()

        wait(nothing_waits, "the answers", 20)

    def rows(self, table: sa.Table, study_uid: str = "") -> list[Any]:
        query = sa.select(table)
        if study_uid:
            query = query.where(table.c.study_key == study_key(study_uid))
        with self.node.rooms.database.connect() as connection:
            return list(connection.execute(query.order_by(*table.primary_key.columns)))

    def states(self, study_uid: str = "") -> list[str]:
        return [row.state for row in self.rows(tables.answer_object, study_uid)]


def wait(ready: Callable[[], bool], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    made = Hospital(tmp_path_factory.mktemp("hospital"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def studies(hospital: Hospital) -> list[str]:
    """Four studies with results that have been in Orthanc for a while."""
    made = [hospital.study(f"answer {number}") for number in range(4)]
    time.sleep(1.1)  # early_seconds
    return made


def test_sending_the_result_is_the_click(hospital: Hospital, studies: list[str]) -> None:
    """Exactly one right record; sent again it gives none."""
    series = hospital.series_of_capture(studies[0])
    for _ in range(2):
        hospital.send_to("accept", series)
        hospital.judged()
    (row,) = hospital.rows(tables.verdict, studies[0])
    (run,) = hospital.rows(tables.run, studies[0])
    assert (row.verdict, row.run_key, row.channel, row.finding) == ("accepted", run.run_key, "answer_ae", "")
    assert (row.strength, row.reader) == ("weak", ""), "Orthanc is nobody's workstation"
    assert hospital.states(studies[0]) == ["read", "nothing"]
    assert [one.state for one in hospital.rows(tables.instance, studies[0])] == ["current"], "no image, whatever came"
    (told,) = [line for line in hospital.rows(tables.story, studies[0]) if line.event == "answer.recorded"]
    assert "sent to an answer AE title" in told.text
    (study,) = hospital.rows(tables.study, studies[0])
    assert study.deadline_utc is None, "nothing is started by an answer"


def test_accept_reject_accept_are_three_rows_and_the_last_one_stands(hospital: Hospital, studies: list[str]) -> None:
    series = hospital.series_of_capture(studies[1])
    for answer in ("accept", "reject", "accept"):
        hospital.send_to(answer, series)
        hospital.judged()
    rows = hospital.rows(tables.verdict, studies[1])
    assert [row.verdict for row in rows] == ["accepted", "rejected", "accepted"]
    with hospital.node.rooms.database.connect() as connection:
        assert standing.current(connection, rows[0].run_key)[""].number == rows[-1].number


def test_amend_opens_a_task(hospital: Hospital, studies: list[str]) -> None:
    hospital.send_to("amend", hospital.series_of_capture(studies[2]))
    hospital.judged()
    (task,) = hospital.rows(tables.task, studies[2])
    assert (task.kind, task.closed_utc) == ("amend", None)
    assert hospital.rows(tables.verdict, studies[2]) == []


def test_a_whole_study_is_unclear(hospital: Hospital, studies: list[str]) -> None:
    hospital.send_to("accept", hospital.lookup(studies[3], "Study"))
    hospital.judged()
    assert hospital.states(studies[3]) == ["unclear"] * 2, "image and result: kept and shown"
    assert hospital.rows(tables.verdict, studies[3]) == []
    both = [hospital.series_of_capture(one) for one in studies[2:]]
    hospital.send_to("accept", *both)
    hospital.judged()
    assert hospital.states(studies[3])[2:] == ["unclear"], "two results in one association"
    assert hospital.rows(tables.verdict, studies[2]) == hospital.rows(tables.verdict, studies[3]) == []


def storescu(hospital: Hospital, folder: Path, calling: str, called: str, dataset: Dataset) -> subprocess.CompletedProcess[str]:
    path = folder / "object.dcm"
    path.write_bytes(part10(dataset))
    words = ["/usr/bin/storescu", "-d", "-xe", "-aet", calling, "-aec", called, LOOPBACK, str(hospital.port), str(path)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_study_that_the_node_never_answered_is_a_failure_at_the_sender(hospital: Hospital, tmp_path: Path) -> None:
    foreign = as_radiograph(IMAGE, seed="foreign", modality="CR")
    done = storescu(hospital, tmp_path, PACS_AE, "AINODE_ACCEPT", foreign)
    assert done.returncode != 0
    assert "0xc002" in (done.stdout + done.stderr).lower()
    assert hospital.rows(tables.answer_object, str(foreign.StudyInstanceUID)) == []
    assert [row.called_ae for row in hospital.rows(tables.refused_object)] == ["AINODE_ACCEPT"]
    assert hospital.rows(tables.refused_object)[-1].text == "This node has no result in the study: nothing to answer"


def test_the_workstation_of_a_radiologist_gives_a_strong_answer(hospital: Hospital, studies: list[str], tmp_path: Path) -> None:
    (capture,) = [one for one in hospital.pacs.fetch(studies[3]) if one.SOPClassUID.name.startswith("Secondary")]
    done = storescu(hospital, tmp_path, "WS_RAO", "AINODE_REJECT", capture)
    assert done.returncode == 0, done.stderr
    hospital.judged()
    (row,) = hospital.rows(tables.verdict, studies[3])
    assert (row.verdict, row.strength, row.reader_role) == ("rejected", "strong", "radiologist")
    rejected = storescu(hospital, tmp_path, "STRANGER", "AINODE_REJECT", capture)
    assert "Calling AE Title Not Recognized" in rejected.stdout + rejected.stderr


def test_what_a_pacs_forwards_by_itself_is_no_answer(
    hospital: Hospital, studies: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Every new object to all three answers, 20 studies; later, when that was mended and resumed, to ACCEPT only."""
    before = len(hospital.rows(tables.verdict))
    objects = len(hospital.rows(tables.answer_object))
    capfd.readouterr()
    hospital.forward_to(*ANSWERS)
    for number in range(MANY):
        hospital.study(f"forwarded {number}", with_image=number < 3)
        ae_titles.judge(hospital.node.rooms)
    hospital.wait_for_jobs()
    hospital.judged()
    came = hospital.rows(tables.answer_object)[objects:]
    results = {row.identifier for row in hospital.rows(tables.artifact)}
    ours = [(row.sop_instance_uid, row.called_ae) for row in came if row.sop_instance_uid in results]
    assert len(ours) == len(set(ours)) == MANY * 3, "each capture, to each answer; most images were there before it, and refused"
    assert {row.state for row in came} == {"suspended"}
    assert capfd.readouterr().out.count('"answers.suspended"') == 1

    deliveries = tables.delivery.c
    with hospital.node.rooms.database.begin() as connection:
        assert suspension.resume(connection, PACS_AE, "Eva", time.time())
        forwarded = {one.study_key for one in came}
        connection.execute(sa.update(tables.delivery).where(deliveries.study_key.in_(forwarded)).values(state="dead"))
    for study in hospital.pacs.ask("GET", "/studies?expand").json():
        if study_key(study["MainDicomTags"]["StudyInstanceUID"]) in forwarded:
            assert hospital.pacs.ask("DELETE", f"/studies/{study['ID']}").status_code == 200
    hospital.forward_to("accept")
    with hospital.node.rooms.database.begin() as connection:
        again = retry_dead(connection, None, hospital.node._queue.submit_delivery)
    assert len(again) == MANY
    hospital.node.work()
    hospital.wait_for_jobs()
    hospital.judged()
    came = hospital.rows(tables.answer_object)[objects + len(came) :]
    assert [row.state for row in came] == ["suspended"] * MANY
    assert capfd.readouterr().out.count('"answers.suspended"') == 1
    hospital.forward_to()
    assert len(hospital.rows(tables.verdict)) == before, "no verdict at all"
    assert hospital.rows(tables.task) == hospital.rows(tables.task, studies[2]), "and no task"


def test_the_work_process_judges_and_forgets(hospital: Hospital) -> None:
    """The timers are wired: answers every second, files of answers now and then."""
    names: dict[str, float] = {}

    class Timers:
        def every(self, seconds: float, name: str, _call: object) -> None:
            names[name] = seconds

    add_timers(Timers(), hospital.node.rooms, None)  # type: ignore[arg-type]
    assert names["answers"] <= 2
    assert "files of answers" in names
