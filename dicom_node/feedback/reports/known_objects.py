"""What the node knows of its own objects, from its tables and files: ``reading.Known``."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

import pydicom
import sqlalchemy as sa
from pydicom.dataset import Dataset

from dicom_node.core.artifact import DICOM
from dicom_node.feedback import matching, repository
from dicom_node.feedback.reports.content_items import predecessors
from dicom_node.feedback.reports.reading import OurObject
from dicom_node.home import Home
from dicom_node.imaging.element_values import ODD
from dicom_node.store.tables import artifact, instance, run

_DOCUMENTS = "1.2.840.10008.5.1.4.1.1.88."
_OURS = "ours"  # state of an instance that came back


class KnownObjects:
    """Reads with the connection that it was given."""

    def __init__(self, connection: sa.Connection, home: Home) -> None:
        self._connection = connection
        self._home = home

    def ours(self, sop_instance_uids: Collection[str]) -> Mapping[str, OurObject]:
        """Return those of the objects that this node made."""
        c = artifact.c
        query = sa.select(c.identifier, c.run_key, c.role).where(
            c.identifier.in_(list(dict.fromkeys(sop_instance_uids))), c.media_type == DICOM
        )
        return {uid: OurObject(run_key, role) for uid, run_key, role in self._connection.execute(query)}

    def stored(self, sop_instance_uid: str) -> Dataset | None:
        """Return an object of ours as it was made, without its pixels; ``None`` when its bytes are gone."""
        c = artifact.c
        query = sa.select(c.storage_key).where(c.identifier == sop_instance_uid, c.media_type == DICOM)
        key = self._connection.execute(query).scalars().first()
        if key is None:
            return None
        return _read(self._home.results / key)

    def findings(self, run_key: str) -> Mapping[str, str]:
        """Return Tracking UID -> finding of one result."""
        rows = repository.run_rows(self._connection, {run_key})
        return {matching.tracking_uid(run_key, key): key for row in rows for key in matching.findings_of(row)}

    def runs_of_tracking_uids(self, uids: Collection[str], study_key: str) -> frozenset[str]:
        """Return the results of a study whose findings have these Tracking UIDs."""
        if not uids:
            return frozenset()
        rows = repository.answered_rows(self._connection, study_key)
        return frozenset(row.run_key for row in rows if not self.findings(row.run_key).keys().isdisjoint(uids))

    def results_from(self, sop_instance_uid: str) -> Collection[str]:
        """Return the results that stand and were made from an image."""
        holds = sa.select(instance.c.study_key).where(instance.c.sop_instance_uid == sop_instance_uid)
        rows = self._connection.execute(sa.select(run).where(run.c.study_key.in_(holds), run.c.state == "analysed"))
        return [
            row.run_key
            for row in rows
            if sop_instance_uid in row.request.get("read", ()) and matching.is_current(self._connection, row)
        ]

    def received(self, sop_instance_uids: Collection[str]) -> Collection[str]:
        """Return those of the objects that came from elsewhere."""
        c = instance.c
        query = sa.select(c.sop_instance_uid).where(c.sop_instance_uid.in_(list(sop_instance_uids)), c.state != _OURS)
        return set(self._connection.execute(query).scalars())

    def made_from(self, sop_instance_uid: str) -> Collection[str]:
        """Return the predecessors that a received report names; nothing where its file is gone."""
        c = instance.c
        query = sa.select(c.storage_key).where(c.sop_instance_uid == sop_instance_uid, c.sop_class_uid.startswith(_DOCUMENTS))
        files = (_read(self._home.store / key) for key in self._connection.execute(query).scalars())
        return [uid for dataset in files if dataset is not None for uid in predecessors(dataset)]

    def has_result(self, study_key: str) -> bool:
        """Say whether the node ever gave a result for a study."""
        query = sa.select(artifact.c.artifact_id).join(run, run.c.run_key == artifact.c.run_key)
        return self._connection.execute(query.where(run.c.study_key == study_key).limit(1)).first() is not None


def _read(path: Path) -> Dataset | None:
    with contextlib.suppress(FileNotFoundError, pydicom.errors.InvalidDicomError, *ODD):
        return pydicom.dcmread(path, stop_before_pixels=True)
    return None
