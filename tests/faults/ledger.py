"""The sender's own record, held against what node and peers have in the end: lost, duplicated, stuck."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.core.digest import digest_of
from dicom_node.core.identifiers import study_key
from dicom_node.imaging.encoded import file_meta_end
from dicom_node.store import tables
from tests.factories import phantom_dicom
from tests.factories.dicom_sender import send
from tests.factories.received_objects import encoded
from tests.faults.faulty_node import FaultyNode
from tests.faults.peers import Fhir, Pacs, Ris
from tests.integration.running_node import SENDER, SETTLED

SUCCESS = 0x0000
DELIVERED = ("done", "done_with_warning")


def study(number: int | str, *, analysed: bool = False) -> Dataset:
    """Return a study of one image. A lateral view is refused by its header: as long a way, without the seconds of a network."""
    return phantom_dicom.chest(f"fault-{number}", **({} if analysed else {"ViewPosition": "LL", "ViewCodeSequence": None}))


@dataclass
class Tally:
    """What a scenario came to."""

    injected: int = 0
    studies: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing went wrong."""
        return not (self.lost or self.duplicated or self.stuck)

    def __str__(self) -> str:
        counts = f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, stuck {len(self.stuck)}"
        return f"faults injected {self.injected}, studies {self.studies}, {counts}"


#: One a scenario, for the line at the end of the session.
TALLIES: list[Tally] = []


class Ledger:
    """Sends as a PACS does, again until it hears success, and writes down what was acknowledged."""

    def __init__(self, node: FaultyNode) -> None:
        self.node = node
        self.acknowledged: dict[str, tuple[str, str]] = {}  # SOP Instance UID -> study, digest of the data set's bytes
        self.refusals: Counter[int] = Counter()

    def try_once(self, *datasets: Dataset) -> list[int]:
        """Send over one association; returns the statuses that came, fewer than objects when it broke."""
        try:
            answers = [int(a.Status) for a in send(self.node.port, *datasets, calling=SENDER) if a is not None]
        except Exception:  # refused, aborted, broken: not acknowledged, whatever the reason
            return []
        for dataset, status in zip(datasets, answers, strict=False):
            if status == SUCCESS:
                digest = digest_of(encoded(dataset))
                self.acknowledged[str(dataset.SOPInstanceUID)] = (str(dataset.StudyInstanceUID), digest)
            else:
                self.refusals[status] += 1
        return answers

    def send(self, dataset: Dataset, seconds: float = 90) -> None:
        """Send until it is acknowledged."""
        end = time.monotonic() + seconds
        while self.try_once(dataset) != [SUCCESS]:
            assert time.monotonic() < end, f"never acknowledged\n{self.node.log()[-3000:]}"
            time.sleep(0.2)

    @property
    def studies(self) -> list[str]:
        """Study Instance UIDs, as far as an image of them was acknowledged."""
        return list(dict.fromkeys(uid for uid, _ in self.acknowledged.values()))

    # ---------------------------------------------------------------- in the end

    def settle(self, seconds: float) -> list[str]:
        """Wait until nothing moves any more; returns what still does, in words."""
        end = time.monotonic() + seconds
        left = list(self.studies)
        while True:
            try:
                left = [uid for uid in left if self._unsettled(uid)]
            except sa.exc.SQLAlchemyError as error:  # the database is down itself
                if time.monotonic() > end:
                    return [f"database: {error}"]
            if not left or time.monotonic() > end:
                return [f"{study_key(uid)}: {self._unsettled(uid)}" for uid in left]
            time.sleep(0.2)

    def _unsettled(self, uid: str) -> str:
        story = self.node.story(uid)
        if not story:
            return "unknown to the node"
        if story["state"] == "receiving":
            return "still receiving"
        if story["state"] != "held" and not story["runs"]:
            return f"{story['state']} without a run"
        moving = [run["state"] for run in story["runs"] if run["state"] in ("queued", "running")]
        moving += [f"{d['destination']} {d['state']}" for d in story["deliveries"] if d["state"] not in SETTLED]
        planned = not story["runs"] or story["deliveries"] or story["runs"][-1]["state"] in ("failed", "cancelled")
        return ", ".join(moving) or ("" if planned else "nothing planned")

    def check(self, injected: int, *, pacs: Pacs, ris: Ris | None = None, fhir: Fhir | None = None, seconds: float = 120) -> Tally:
        """Compare everything with everything."""
        tally = Tally(injected, len(self.studies), stuck=self.settle(seconds))
        TALLIES.append(tally)
        self._objects(tally)
        for uid in self.studies:
            story = self.node.story(uid)
            name = study_key(uid)
            live = [run for run in story.get("runs", ()) if run["state"] not in ("cancelled", "unchanged")]
            if len(live) > 1:
                tally.duplicated.append(f"{name}: {len(live)} runs")
            tally.stuck += [f"{name}: {d['role']} {d['state']} without a reason" for d in _unexplained(story)]
            tally.lost += [f"{name}: a run failed: {run['summary']}" for run in live if run["state"] == "failed"]
        self._results(tally, pacs, ris, fhir)
        assert self.acknowledged
        return tally

    def _objects(self, tally: Tally) -> None:
        """Every acknowledged object: on disk, in a row, the same bytes."""
        with self.node.database.connect() as connection:
            rows: dict[str, list[Any]] = {}
            for row in connection.execute(sa.select(tables.instance)):
                rows.setdefault(row.sop_instance_uid, []).append(row)
        named = {row.storage_key for found in rows.values() for row in found if row.deleted_utc is None}
        for uid, (_, digest) in self.acknowledged.items():
            row = next((r for r in rows.get(uid, ()) if r.digest == digest), None)
            if row is None:
                tally.lost.append("an acknowledged object has no row")
                continue
            if row.deleted_utc is not None:  # by retention; the test says whether it should have been
                continue
            path = self.node.home.store / row.storage_key
            content = path.read_bytes() if path.is_file() else b""
            if digest_of(content[file_meta_end(content)[0] :]) != digest:
                tally.lost.append(f"the file of an acknowledged object is {'other' if content else 'gone'}")
            if len(rows[uid]) > 1:
                tally.duplicated.append(f"{len(rows[uid])} rows of one object")
        missing = [key for key in named if not (self.node.home.store / key).is_file()]
        tally.lost += [f"{len(missing)} rows without a file"] if missing else []

    def _results(self, tally: Tally, pacs: Pacs, ris: Ris | None, fhir: Fhir | None) -> None:
        """What the node calls delivered is at the peer, once under its one name, with one content, for the right patient."""
        with self.node.database.connect() as connection:
            query = sa.select(tables.delivery, tables.artifact.c.identifier, tables.artifact.c.role).join(tables.artifact)
            deliveries = connection.execute(query).all()
        reports = {r["identifier"][0]["value"]: r for r in fhir.reports()} if fhir else {}
        if fhir and len(reports) != len(fhir.reports()):
            tally.duplicated.append("two FHIR reports under one identifier")
        for row in deliveries:
            what = f"{row.study_key}: {row.role} at {row.destination}"
            given = {"pacs": pacs, "ris": ris}.get(row.destination)
            if given is not None:
                if row.state in DELIVERED and row.identifier not in given.given:
                    tally.lost.append(what)
                if len(set(given.given.get(row.identifier, ()))) > 1:
                    tally.duplicated.append(f"{what}: one name, two contents")
        known = {row.identifier for row in deliveries}
        for peer in filter(None, (pacs, ris)):
            tally.duplicated += [f"{name} is no current result" for name in peer.given if name not in known]
        if fhir:
            done = sum(row.destination == "fhir" and row.state in DELIVERED for row in deliveries)
            if len(reports) < done:
                tally.lost.append(f"FHIR server has {len(reports)} reports of {done}")
            if len(reports) > len({row.study_key for row in deliveries}):
                tally.duplicated.append(f"FHIR server has {len(reports)} reports of {done}")
        patients = dict(_patients(self.node))
        for dataset in pacs.objects.values():
            if patients.get(str(dataset.StudyInstanceUID)) != dataset.PatientID:
                tally.lost.append("a result names another patient")


def _unexplained(story: dict[str, Any]) -> list[dict[str, Any]]:
    """Deliveries that are not done and do not say why."""
    return [
        d for d in story.get("deliveries", ()) if d["state"] in ("dead", "waiting", "withheld", "cancelled") and not d["detail"]
    ]


def _patients(node: FaultyNode) -> list[tuple[str, str]]:
    query = sa.select(tables.study.c.study_instance_uid, tables.instance.c.facts).join(tables.instance)
    with node.database.connect() as connection:
        return [
            (row[0], (row[1] if isinstance(row[1], dict) else json.loads(row[1]))["patient_id"])
            for row in connection.execute(query)
        ]
