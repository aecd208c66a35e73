"""Artifacts: bytes below HOME/results, one row each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dicom_node.core.artifact import Artifact, file_stem, kind_of
from dicom_node.core.identifiers import accession_token, short_key
from dicom_node.core.phi import Phi
from dicom_node.results.numbers import numbers_of
from dicom_node.store.tables import artifact, result_number


def write_artifacts(results_root: Path, artifacts: Iterable[Artifact]) -> None:
    """Write the bytes, durable before any row names them. Writing again writes the same bytes."""
    folders = set()
    for item in artifacts:
        path = results_root / storage_key(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}")  # of two processes on one run, neither may cut off what the other writes
        try:
            with temporary.open("wb") as handle:
                handle.write(item.data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk must not fill further at each try
            raise
        folders.add(path.parent)
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def record_artifacts(connection: sa.Connection, artifacts: Iterable[Artifact]) -> None:
    """Write the rows; of one that is there already, the checksum of the bytes that lie there now."""
    for item in artifacts:
        _record(connection, item.run_key, numbers_of(item))
        key = artifact_id(item)
        if connection.execute(sa.select(artifact.c.artifact_id).where(artifact.c.artifact_id == key)).first():
            changed = {"sha256": item.sha256, "refusal": item.refusal}
            connection.execute(sa.update(artifact).where(artifact.c.artifact_id == key).values(**changed))
            continue
        connection.execute(
            sa.insert(artifact).values(
                artifact_id=key,
                run_key=item.run_key,
                role=item.role,
                media_type=item.media_type,
                identifier=item.identifier,
                sop_class_uid=item.sop_class_uid,
                refusal=item.refusal,
                storage_key=storage_key(item),
                sha256=item.sha256,
            )
        )


def record_accessions(connection: sa.Connection, run_key: str, accession_numbers: Iterable[Phi]) -> None:
    """Write which accession numbers a result is about, each as a hash: every report of the hospital is looked up by it."""
    _record(connection, run_key, {accession_token(number) for number in accession_numbers if number.strip()})


def _record(connection: sa.Connection, run_key: str, numbers: Iterable[str]) -> None:
    """Write under which numbers receivers know the result."""
    for number in numbers:
        values = {"number": number, "run_key": run_key}
        if connection.execute(sa.select(result_number).filter_by(**values)).first():
            continue
        with contextlib.suppress(IntegrityError), connection.begin_nested():  # another process on the same run was faster
            connection.execute(sa.insert(result_number).values(**values))


def are_whole(connection: sa.Connection, results_root: Path, run_key: str) -> bool:
    """Say whether the run's artifacts are recorded and their bytes undamaged: then they are not built again."""
    rows = connection.execute(sa.select(artifact).where(artifact.c.run_key == run_key)).all()
    try:
        return bool(rows) and all(
            hashlib.sha256((results_root / row.storage_key).read_bytes()).hexdigest() == row.sha256 for row in rows
        )
    except OSError:
        return False


def artifact_id(item: Artifact) -> str:
    """Return the row's name, derived from run and role."""
    return short_key("ar", item.run_key, item.role)


def storage_key(item: Artifact) -> str:
    """Return the path below HOME/results: made of our own names only."""
    return f"{item.run_key}/{file_stem(item.role)}{item.suffix}"


def load_artifacts(connection: sa.Connection, results_root: Path, run_key: str) -> tuple[Artifact, ...]:
    """Return the artifacts of a run with their bytes, in order of role."""
    rows = connection.execute(sa.select(artifact).where(artifact.c.run_key == run_key).order_by(artifact.c.role))
    return tuple(_read(results_root, row) for row in rows)


def roles_of(connection: sa.Connection, run_key: str, media_type: str) -> list[str]:
    """Return the roles of a run's artifacts of one media type, in order."""
    c = artifact.c
    return list(
        connection.execute(sa.select(c.role).where(c.run_key == run_key, c.media_type == media_type).order_by(c.role)).scalars()
    )


def load_artifact(connection: sa.Connection, results_root: Path, run_key: str, role: str) -> Artifact:
    """Return one artifact with its bytes.

    Raises
    ------
    OSError
        The bytes are not there, or not those that were recorded.
    """
    row = connection.execute(sa.select(artifact).where(artifact.c.run_key == run_key, artifact.c.role == role)).one()
    item = _read(results_root, row)
    if item.sha256 != row.sha256:
        raise OSError("the stored result is damaged")
    return item


def _read(results_root: Path, row: sa.Row[Any]) -> Artifact:
    return Artifact(
        run_key=row.run_key,
        role=row.role,
        media_type=row.media_type,
        identifier=row.identifier,
        data=(results_root / row.storage_key).read_bytes(),
        sop_class_uid=row.sop_class_uid,
        refusal=row.refusal,
    )


def predecessors_of(connection: sa.Connection, run_key: str) -> tuple[tuple[str, str, str], ...]:
    """Return (SOP Class UID, SOP Instance UID, role) of a run's structured reports: what a successor document names."""
    reports = ("text_report", "structured_report")
    rows = connection.execute(sa.select(artifact).where(artifact.c.run_key == run_key))
    return tuple((r.sop_class_uid, r.identifier, r.role) for r in rows if kind_of(r.role) in reports)
