"""A person has looked: a study that waits for one is judged again, with the newest version of each of its objects."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.core.abstentions import INCOMPLETE, PERSON_DECIDES, WAITS_FOR_CORRECTION
from dicom_node.core.errors import UsageError
from dicom_node.store.story import tell
from dicom_node.studies import archive_answers, repository
from dicom_node.studies.arrivals import InstanceState
from dicom_node.studies.evidence import Answer
from dicom_node.studies.step import find_study

_VERSIONS = (InstanceState.CURRENT, InstanceState.HELD, InstanceState.PENDING)


def release_study(connection: sa.Connection, key_or_uid: str, now_utc: float) -> str:
    """Let a held study go on, in the caller's transaction; returns its key.

    Of each object the version that came last counts from now on: what the PACS sent again after a correction, or the changed pixels
    that the person has seen. The study gets a new revision and is due at once. If it still holds two patients, it is held again.

    Raises
    ------
    UsageError
        The node has not heard of it, or it does not wait for a person.
    """
    key = find_study(connection, key_or_uid)
    row = repository.locked_study(connection, key)
    assert row is not None, "found a moment ago, in the same transaction"
    if row.state == "held" and row.hold_reason == INCOMPLETE:
        return _release_incomplete(connection, key, now_utc)
    if row.state != "held" or row.hold_reason not in PERSON_DECIDES | WAITS_FOR_CORRECTION:
        raise UsageError(f"{key} does not wait for a person: it is {row.state}")
    versions = repository.rows_in(connection, key, *_VERSIONS)
    newest = {version.sop_instance_uid: version.instance_id for version in versions}  # in order of arrival: the last one stays
    for version in versions:
        chosen = newest[version.sop_instance_uid] == version.instance_id
        repository.set_state(connection, version.instance_id, InstanceState.CURRENT if chosen else InstanceState.SUPERSEDED)
    repository.update_study(
        connection, key, state="receiving", hold_reason="", revision=row.revision + 1, deadline_utc=now_utc, ceiling_utc=now_utc
    )
    text = "A person released the study; the newest version of each object counts."
    tell(connection, key, "studies", "study.released", text, row.hold_reason)
    return key


def _release_incomplete(connection: sa.Connection, key: str, now_utc: float) -> str:
    """Let a study go on of which the archive lists more than came: a person decided that it is whole enough."""
    archive_answers.note_answer(connection, key, "", Answer(now_utc, "waived"))
    repository.update_study(connection, key, state="receiving", hold_reason="", deadline_utc=now_utc, ceiling_utc=now_utc)
    tell(connection, key, "studies", "study.released", "A person released the study as it is, incomplete.")
    return key
