"""A home with results that can be answered, without images, pipelines or peers."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.core.identifiers import accession_token, derived_uid, short_key
from dicom_node.feedback.settings import FeedbackSettings, ReaderSettings
from dicom_node.feedback.step import Desk, Recorded, record
from dicom_node.home import Home
from dicom_node.store import tables
from dicom_node.store.connect import default_url, make_engine, open_database

#: Two radiologists and a technologist, by login.
READERS = (
    ReaderSettings(
        name="Rao^Asha^^Dr.",
        role="radiologist",
        experience_years=12,
        login="rao",
        ae_titles=("WS_RAO",),
        hl7_ids=("4711",),
        fhir_references=("Practitioner/17",),
        dicom_names=("RAO^A",),
    ),
    ReaderSettings(name="Lind^Ove", role="radiologist", login="lind"),
    ReaderSettings(name="Koch^Eva", role="technologist", login="koch"),
)
RAO, LIND, KOCH = (ReaderClaim("login", one.login, authenticated=True) for one in READERS)
NOBODY = ReaderClaim()
#: What the AI says of each finding.
FINDINGS = {"abnormal": "positive", "tuberculosis": "negative", "pneumonia": "not_assessed"}
ACCEPT, REJECT, WITHDRAW, DEFER = map(Statement, (Verdict.ACCEPTED, Verdict.REJECTED, Verdict.WITHDRAWN, Verdict.DEFERRED))
_sources = itertools.count(1)


@functools.cache
def _empty() -> bytes:
    """Return an embedded database with all tables: making it takes longer than most tests that need one."""
    with tempfile.TemporaryDirectory() as folder:
        open_database(default_url(Path(folder))).dispose()
        return (Path(folder) / "node.sqlite").read_bytes()


def _copy_of_empty(folder: Path) -> sa.Engine:
    (folder / "node.sqlite").write_bytes(_empty())
    return make_engine(default_url(folder))


class AnswerLog:
    """A database with results, and the desk that answers to them are brought to."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.home = Home(folder)
        self.url = url or default_url(folder)
        self.database = open_database(url) if url else _copy_of_empty(folder)
        self.now = 1_790_000_000.0
        self.desk = Desk(self.home, READERS, FeedbackSettings(), clock=self._clock)

    def _clock(self) -> float:
        self.now += 1
        return self.now

    def result(
        self, study: str = "a", *, pipeline: str = "cxr_tb", revision: int = 1, state: str = "analysed", accession: str = ""
    ) -> str:
        """Add a result with its objects; return its run key. The secondary capture is ``sop(run_key)``."""
        key, run_key = f"st_{study}", f"rn_{study}_{pipeline}_{revision}"
        with self.database.begin() as connection:
            if connection.execute(sa.select(tables.study).where(tables.study.c.study_key == key)).first() is None:
                times = dict.fromkeys(("first_received_utc", "last_received_utc", "ceiling_utc"), 1.0)
                values = {"study_key": key, "study_instance_uid": derived_uid(study), "state": "routed", **times}
                connection.execute(sa.insert(tables.study).values(**values))
                self._image(connection, key, accession)
            connection.execute(
                sa.insert(tables.run).values(
                    run_key=run_key,
                    study_key=key,
                    pipeline=pipeline,
                    rule="rule",
                    revision=revision,
                    state=state,
                    request={"study_revision": 1},
                    summary={
                        "decision": "positive",
                        "probabilities": {"abnormal": 0.9, "tuberculosis": 0.1},
                        "not_assessed": ["pneumonia"],
                    },
                    requested_utc=float(revision),
                )
            )
            if accession:
                connection.execute(sa.insert(tables.result_number).values(number=accession_token(accession), run_key=run_key))
            made = [("secondary_capture", "application/dicom", sop(run_key)), ("oru_message", "x", f"AI{run_key}")]
            made += [("diagnostic_report", "x", f"number of {key} {pipeline}")]  # a later result keeps it
            for role, media_type, identifier in made:
                values = {"run_key": run_key, "role": role, "media_type": media_type, "identifier": identifier}
                files = {"artifact_id": short_key("ar", run_key, role), "storage_key": "", "sha256": ""}
                connection.execute(sa.insert(tables.artifact).values(**values, **files))
        folder = self.home.results / run_key
        folder.mkdir(parents=True)
        found = [{"key": name, "decision": decision} for name, decision in FINDINGS.items()]
        written = {"findings": found, "bundles": [{"sha256": "b" * 64}], "policy": {"sha256": "c" * 64}}
        (folder / "findings.json").write_text(json.dumps(written))
        return run_key

    def _image(self, connection: sa.Connection, study_key: str, accession: str) -> None:
        words = dict.fromkeys(
            ("sop_class_uid", "series_instance_uid", "transfer_syntax_uid", "digest", "storage_key", "calling_ae", "called_ae"), ""
        )
        facts = {"accession_number": accession, "requested_accessions": []}
        values = {"study_key": study_key, "sop_instance_uid": derived_uid(study_key), "size": 1, "received_utc": 1.0}
        connection.execute(sa.insert(tables.instance).values(**values, **words, facts=facts, state="current"))

    def claim(
        self, run_key: str, *statements: Statement, reader: ReaderClaim = RAO, channel: Channel = Channel.WEB, **more: Any
    ) -> Claim:
        """Return a claim about a result; each has a source of its own."""
        source = more.pop("source", f"message {next(_sources)}")
        at = more.pop("at", dt.datetime.fromtimestamp(self.now, dt.UTC))
        targets = more.pop("targets", Targets(run_key=run_key))
        return Claim(channel, source, at, targets, reader, statements, **more)

    def bring(self, claim: Claim, desk: Desk | None = None) -> Recorded:
        """Record a claim in a transaction of its own."""
        with self.database.begin() as connection:
            return record(connection, claim, desk=desk or self.desk)

    def say(self, run_key: str, *statements: Statement, reader: ReaderClaim = RAO, **more: Any) -> Recorded:
        """Record statements about a result."""
        return self.bring(self.claim(run_key, *statements, reader=reader, **more))

    def rows(self) -> Sequence[Any]:
        """Return the log, in order."""
        with self.database.connect() as connection:
            return connection.execute(sa.select(tables.verdict).order_by(tables.verdict.c.number)).all()

    def tampered(self, statement: str, **values: object) -> None:
        """Do what the triggers refuse, in a transaction of its own."""
        with self.database.begin() as connection:
            tamper(connection, statement, **values)


def tamper(connection: sa.Connection, statement: str, **values: object) -> None:
    """Do what the triggers refuse, as somebody can who may change the database's structure."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ALTER TABLE verdict DISABLE TRIGGER USER"))
        connection.execute(sa.text(statement), values)
        connection.execute(sa.text("ALTER TABLE verdict ENABLE TRIGGER USER"))
        return
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'verdict'"
    triggers = connection.execute(sa.text(query)).all()
    for trigger in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {trigger.name}")
    connection.execute(sa.text(statement), values)
    for trigger in triggers:
        connection.exec_driver_sql(trigger.sql)


def sop(run_key: str) -> str:
    """Return the SOP Instance UID of a result's secondary capture."""
    return derived_uid(run_key, "instance", "secondary_capture")
