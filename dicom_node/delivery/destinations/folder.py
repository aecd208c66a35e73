"""A folder: every object as a file, complete or not there at all. File names are made of our own names only."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from dicom_node.core.artifact import DICOM, FHIR, HL7, Artifact, file_stem
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import PeerError, PeerUnreachable
from dicom_node.delivery.settings import DestinationSettings

MEDIA_TYPES = (DICOM, FHIR, HL7)


class Settings(DestinationSettings):
    """A folder on this machine or a mounted share."""

    path: Path = Field(
        description="Folder that exists; each run gets a folder of its own in it. Mount a share so that it fails when its server "
        "is gone (NFS: soft): with a hard mount an attempt waits for as long as that."
    )


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Write one file: under another name, synced, then renamed. The same artifact again is the same file again."""
    folder = settings.path / artifact.run_key
    final = folder / (file_stem(artifact.role) + artifact.suffix)
    unfinished = folder / f".{final.name}.part"
    try:
        if not settings.path.is_dir():  # a share that is not mounted must not be filled as a plain folder
            raise PeerUnreachable("The folder does not exist, or its share is not mounted.")
        folder.mkdir(exist_ok=True)
        with unfinished.open("wb") as handle:
            handle.write(artifact.data)
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(final)
        _sync(folder)
        _sync(settings.path)
    except OSError as error:
        raise PeerError(f"The folder cannot be written: {os.strerror(error.errno or 0)}.") from error
    return Receipt(Outcome.DELIVERED)


def check(settings: Settings, sop_class_uids: tuple[str, ...]) -> list[str]:
    """Say whether the folder is there and may be written."""
    if not settings.path.is_dir():
        return [f"{settings.path} is not a folder."]
    if not os.access(settings.path, os.W_OK | os.X_OK):
        return [f"{settings.path} may not be written by this user."]
    return []


def describe(settings: Settings) -> str:
    """Say where this goes."""
    return f"Files in {settings.path}."


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
