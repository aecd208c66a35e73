"""web -> feedback, orders: what a FHIR server brings to the hook is recorded; what it only hints at is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from fastapi import APIRouter

from dicom_node.config.model import NodeSettings
from dicom_node.feedback.step import Desk
from dicom_node.home import Home
from dicom_node.stages.answers.resources import Json, take
from dicom_node.stages.fhir_laboratory import PushedObservations
from dicom_node.store.tables import answer_poll
from dicom_node.web.fhir_hook import fhir_hook


def want(database: sa.Engine, names: Sequence[str]) -> None:
    """Have these servers asked at the next look."""
    now = time.time()
    with database.begin() as connection:
        for name in names:
            values = {"wanted_utc": now}
            if connection.execute(sa.update(answer_poll).where(answer_poll.c.name == name).values(**values)).rowcount == 0:
                connection.execute(sa.insert(answer_poll).values(name=name, **values))


def fhir_hooks(home: Home, settings: NodeSettings, database: sa.Engine) -> tuple[APIRouter, ...]:
    """Return the hook for FHIR servers, where tokens are named for it."""
    answers = settings.feedback.fhir
    if not answers.hook_token_file:
        return ()
    take_them = hook_takes(home, settings, database)
    return (fhir_hook(Path(answers.hook_token_file), take_them, partial(want, database, answers.poll)),)


def hook_takes(home: Home, settings: NodeSettings, database: sa.Engine) -> Callable[[Sequence[Json]], list[str]]:
    """Return what the hook hands resources to; who shows a token of the file is believed who its people are."""
    desk = Desk(home, settings.readers, settings.feedback)
    laboratory = PushedObservations(settings)

    def taken(resources: Sequence[Json]) -> list[str]:
        found = laboratory.found(resources)
        with database.begin() as connection:
            done = take(connection, resources, desk, vouched=True)
            values = laboratory.keep(connection, found)
        if any(one.get("resourceType") in ("Provenance", "Task") for one in resources):
            want(database, settings.feedback.fhir.poll)  # what they refer to may have to be asked for
        return [*(one.state for one in done), *values]

    return taken
