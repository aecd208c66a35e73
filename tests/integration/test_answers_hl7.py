"""Answers by HL7: the RIS sends back what we sent it, changed or signed, over MLLP into the real port."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hl7.client import MLLPClient

from dicom_node.feedback import chain, standing
from dicom_node.orders.listener import Listener
from dicom_node.orders.settings import ListenerSettings
from dicom_node.orders.step import Inbox, take
from dicom_node.stages.answers.messages import hl7_desk
from dicom_node.stages.merges import patient_merged
from dicom_node.store import tables
from tests.factories.hl7_messages import merge, message, report
from tests.integration.in_process import InProcessNode
from tests.integration.test_safety import chest

READERS = [
    {"name": "Rao^Asha^^Dr.", "role": "radiologist", "hl7_ids": ["D1"]},
    {"name": "Lee^Bo", "role": "trainee", "hl7_ids": ["T1"]},
]
RAO, LEE = "D1^Rao^Asha", "T1^Lee^Bo"


class Port:
    """A node with its HL7 port, and a RIS that is connected."""

    def __init__(self, folder: Path) -> None:
        self.node = InProcessNode(folder, destination={"outputs": ["oru_message"]}, readers=READERS)
        rooms = self.node.rooms
        inbox = Inbox(rooms.database, rooms.settings.orders, dt.UTC, "AINODE", patient_merged, hl7_desk(rooms.home, rooms.settings))
        port = ListenerSettings.model_validate({"host": "127.0.0.1", "port": 0, "peers": ["127.0.0.1"]})
        self.listener = Listener(port, partial(take, inbox)).start()
        self.client = MLLPClient("127.0.0.1", self.listener.port)

    def close(self) -> None:
        self.client.close()
        self.listener.stop()
        self.node.rooms.database.dispose()


class Site:
    """One study that was answered, and the message about it."""

    def __init__(self, port: Port, name: str) -> None:
        self.node, self._client, self._name = port.node, port.client, name
        self.accession = f"ACC-{name}"
        self._marks = {
            table.name: len(self._all(table)) for table in (tables.answer_message, tables.message, tables.verdict_private)
        }
        before = set(self.node.sent_text(".hl7"))
        self.dataset = chest(name, AccessionNumber=self.accession, PatientID=f"P-{name}")
        self.run_key = self.node.answer(self.dataset)["runs"][-1]["run_key"]
        (self.ours,) = set(self.node.sent_text(".hl7")) - before
        self._number = 0

    def edited(self, status: str, observer: str = "", *, control: str = "", only: str = "", **values: str) -> bytes:
        """Return our message as the RIS sends it: its own header, OBX-11 and OBX-16, other values by OBX-4."""
        self._number += 1
        segments = []
        for segment in self.ours.rstrip("\r").split("\r"):
            fields = segment.split("|")
            if fields[0] == "MSH":
                fields[2:4], fields[9] = ["RIS", "HOSP"], control or f"{self._name}{self._number:05d}"
            elif fields[0] == "OBX":
                fields += [""] * (17 - len(fields))
                if only and fields[4] != only:
                    continue
                fields[5], fields[11], fields[16] = values.get(fields[4], fields[5]), status, observer
            segments.append("|".join(fields))
        return "".join(f"{one}\r" for one in segments).encode()

    def send(self, data: bytes) -> None:
        """Send one message; it is acknowledged."""
        assert b"MSA|AA|" in self._client.send_message(data)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the log of this result: finding, verdict, strength, label."""
        mine = [row for row in self._all(tables.verdict) if row.run_key == self.run_key]
        return [(row.finding, row.verdict, row.strength, row.label_after) for row in mine]

    def states(self) -> list[str]:
        return [row.state for row in self._new(tables.answer_message)]

    def texts(self) -> list[str]:
        return [row.text for row in self._new(tables.message)]

    def current(self) -> dict[str, standing.Standing]:
        with self.node.rooms.database.connect() as connection:
            return standing.current(connection, self.run_key)

    def evidence(self) -> list[str]:
        found = [row.content.get("evidence") for row in self._new(tables.verdict_private)]
        return [one["report_text"] for one in found if one]

    def _new(self, table: sa.Table) -> list[Any]:
        return self._all(table)[self._marks[table.name] :]

    def _all(self, table: sa.Table) -> list[Any]:
        with self.node.rooms.database.connect() as connection:
            return list(connection.execute(sa.select(table)))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    made = Port(tmp_path_factory.mktemp("hl7"))
    yield made
    made.close()


@pytest.fixture
def site(port: Port, request: pytest.FixtureRequest) -> Site:
    """A study of its own for each test, on one node."""
    return Site(port, f"{zlib.crc32(request.node.name.encode()):010d}")


def test_a_signed_result_is_one_strong_acceptance_and_resending_adds_nothing(site: Site) -> None:
    """Final, unchanged, a named radiologist: one row, of the whole result; the same message, and the same news in another, none."""
    signed = site.edited("F", RAO, control="SAME")
    site.send(signed)
    site.send(signed)
    site.send(site.edited("F", RAO, control="SAME").replace(b"|P|2.5.1", b"|P|2.5.1"))
    site.send(site.edited("F", RAO))
    assert site.rows() == [("", "accepted", "strong", "")]
    with site.node.rooms.database.connect() as connection:
        assert chain.verify(connection).problems == ()
    assert any("A radiologist accepted the result (strong, by HL7)." in text for text in site.texts())
    assert not any("Rao" in text or site.accession in text for text in site.texts())


def test_corrected_values_amend_and_the_last_word_counts(site: Site) -> None:
    """Accepted, corrected, accepted again: three rows, the last one stands."""
    site.send(site.edited("F", RAO))
    site.send(site.edited("C", RAO, only="RESULT", RESULT="NEG^Below operating threshold^99PACSAI"))
    site.send(site.edited("C", RAO, only="RESULT"))
    assert site.rows() == [("", "accepted", "strong", ""), ("", "amended", "strong", "absent"), ("", "accepted", "strong", "")]
    assert site.current()[""].verdict == "accepted"


def test_a_code_of_the_house_is_kept_beside_the_log_and_said_once(site: Site) -> None:
    """It could be anything, a patient's number too: no label; and the same report in another message is no second answer."""
    for _ in range(2):
        site.send(site.edited("C", RAO, only="RESULT", RESULT="ZZ0042^Own^LOCAL"))
    assert site.rows() == [("", "amended", "strong", "")]


def test_one_finding_corrected(site: Site) -> None:
    """A probability overwritten with 0 by a person: amended, absent."""
    site.send(site.edited("C", RAO, only="ABNORMAL", ABNORMAL="0"))
    assert site.rows() == [("abnormal", "amended", "strong", "absent")]


@pytest.mark.parametrize(("observer", "rows"), [(LEE, 1), ("X9^Unknown", 1), ("", 0)])
def test_who_is_no_known_radiologist_is_weak_and_nobody_is_nothing(site: Site, observer: str, rows: int) -> None:
    """A trainee, somebody whom ``readers`` does not know; without a name a status is no opinion."""
    site.send(site.edited("F", observer))
    assert site.rows() == [("", "accepted", "weak", "")] * rows
    assert site.states() == ["read" if rows else "nothing"]


def test_a_withdrawal_is_no_opinion(site: Site) -> None:
    """W on what nobody answered leaves no row; after an answer it takes that answer back."""
    site.send(site.edited("W", RAO))
    assert site.rows() == []
    site.send(site.edited("F", RAO))
    site.send(site.edited("W", RAO))
    site.send(site.edited("D", RAO))
    assert site.rows() == [("", "accepted", "strong", ""), ("", "withdrawn", "strong", "")]
    assert site.current() == {}


def test_our_own_message_echoed_is_nothing(site: Site) -> None:
    """As sent; with our name in MSH-3; under our control id; forwarded as preliminary; passed on as final by an engine."""
    site.send(site.ours.encode())
    site.send(site.edited("F", RAO).replace(b"|RIS|HOSP|", b"|AINODE|HOSP|"))
    control = site.ours.split("|")[9]
    site.send(site.edited("F", RAO, control=control))
    site.send(site.edited("P", RAO))
    site.send(site.edited("F"))
    assert site.rows() == []
    assert site.states() == ["nothing", "nothing"]
    assert site.node.story(str(site.dataset.StudyInstanceUID))["runs"][-1]["state"] == "analysed"


def test_what_matches_nothing_is_quarantined(site: Site) -> None:
    """A filler number that is not ours under our code; nothing is guessed from the accession number beside it."""
    number = site.ours.split("\r")[2].split("|")[3].partition("^")[0]
    foreign = site.edited("F", RAO).replace(number.encode(), b"AI" + b"Z" * 16)
    site.send(foreign)
    assert site.rows() == []
    assert site.states() == ["quarantined"]


def test_the_accession_number_is_enough_only_where_it_means_one_result(site: Site) -> None:
    """A RIS that keeps no filler number of ours: by OBR-18; another patient's study with the same number makes it two."""
    number = site.ours.split("\r")[2].split("|")[3].partition("^")[0]

    def by_accession() -> bytes:
        fields = ["OBR", "1", "", "R77", "AI-CXR-RESULT^AI^99PACSAI"] + [""] * 14
        fields[18] = site.accession
        text = site.edited("F", RAO).decode()
        return "\r".join("|".join(fields) if line.startswith("OBR") else line for line in text.split("\r")).encode()

    assert number.encode() not in by_accession()
    site.send(by_accession())
    assert site.rows() == [("", "accepted", "strong", "")]
    site.node.answer(chest("other", AccessionNumber=site.accession, PatientID="P-OTHER"))
    site.send(by_accession())
    assert site.states() == ["read", "quarantined"]
    assert len(site.rows()) == 1


def test_our_number_under_another_patient_is_no_answer(site: Site) -> None:
    """PID-3 names somebody else: neither an answer nor evidence, and shown; a merged number of the same person is theirs."""
    mine = str(site.dataset.PatientID)
    swapped = site.edited("F", RAO).replace(f"{mine}^".encode(), b"P-SOMEBODY-ELSE^")
    assert b"P-SOMEBODY-ELSE" in swapped
    site.send(swapped)
    site.send(report(site.accession, "F", patient="P-SOMEBODY-ELSE"))
    assert (site.rows(), site.states(), site.evidence()) == ([], ["unclear"], [])
    assert not any("SOMEBODY" in text for text in site.texts())
    site.send(merge(mine, f"NEW-{mine}"))
    site.send(site.edited("F", RAO).replace(f"{mine}^".encode(), f"NEW-{mine}^".encode()))
    assert site.rows() == [("", "accepted", "strong", "")]


def test_a_final_report_is_evidence_and_no_answer(site: Site) -> None:
    """Its text is kept, erasable, beside the log; a report on somebody else's accession number is not."""
    site.send(report(site.accession, "F", patient=str(site.dataset.PatientID)))
    site.send(report(site.accession, "P"))
    site.send(report("NOT-OURS", "F"))
    assert site.rows() == []
    assert site.evidence() == ["No pneumothorax."]
    assert site.states() == []


def test_a_laboratory_message_is_as_before(site: Site) -> None:
    """Nothing of it is about us."""
    site.send(message("ORU^R01", "PID|1||P1", "OBR|1||L1|TBC^Culture^L|||||||||||||||||||||MB|F", "OBX|1|NM|1-2^x^LN||1||||||F"))
    assert (site.rows(), site.states()) == ([], [])
