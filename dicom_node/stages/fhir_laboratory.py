"""FHIR -> orders: Observations of a laboratory, pushed to the hook, or asked for while a run waits.

Whose an Observation is, an identifier of its Patient says, in a system that the settings name, and nothing else: neither a name nor
what a search returned. What names nobody so is not kept, and the log counts it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import HttpFailure, NodeError
from dicom_node.core.fhir_names import OBSERVATION_SYSTEM
from dicom_node.core.identifiers import plain
from dicom_node.delivery.destinations import fhir_rest
from dicom_node.inference import repository as runs
from dicom_node.inference import waiting
from dicom_node.orders import observations
from dicom_node.orders.laboratory import keep_values
from dicom_node.orders.settings import FhirLaboratorySettings
from dicom_node.stages.answers.fhir_server import FhirServer
from dicom_node.stages.clinical_data import values_changed
from dicom_node.store.connect import reading
from dicom_node.store.story import read_story, tell
from dicom_node.studies.patients import one_patient

Json = dict[str, Any]

#: How often it is looked who is to be asked.
LOOK_SECONDS = 1.0
_HOOK = "hook"


@dataclass(frozen=True)
class Whose:
    """An Observation and the Patient that it is about; ``None``: nobody could be found."""

    observation: Json
    patient: Json | None


def keep(connection: sa.Connection, server: str, found: Sequence[Whose], settings: NodeSettings) -> list[str]:
    """Keep what Observations of one server say, in the caller's transaction; return what became of each."""
    assert settings.orders.fhir is not None, "asked for by the callers"
    systems, zone, now = settings.orders.fhir.patient_systems, settings.site.tzinfo(), time.time()
    states = []
    for one in found:
        try:
            values, times = observations.values_of(one.observation, zone), observations.times_of(one.observation, zone)
            numbers = observations.patients_of(one.patient, systems) if one.patient is not None else ()
            numbers = () if observations.names_another(one.observation, numbers, systems) else numbers
        except (AttributeError, TypeError, KeyError, ValueError):  # what reading alien JSON raises
            states.append("unreadable")
            continue
        number = one.observation.get("id")
        resource = f"{server}|Observation/{number[:64]}" if isinstance(number, str) and number else ""
        if values is None:
            states.append("not final")
            continue
        whose = numbers[0].key if numbers else ""  # empty: whoever it was about, it is not about them any more
        changes = keep_values(
            connection,
            whose,
            values,
            now_utc=now,
            stated_utc=times.stated_utc,
            source="fhir",
            resource=resource,
            version_utc=times.version_utc,
        )
        for changed in changes:
            values_changed(connection, changed)
        states.append("laboratory" if numbers else "no patient")
    return states


def is_of_laboratory(resource: Json) -> bool:
    """Say whether a resource may be a laboratory's: an Observation that is none of ours."""
    named = resource.get("identifier")
    ours = isinstance(named, list) and any(isinstance(one, dict) and one.get("system") == OBSERVATION_SYSTEM for one in named)
    return resource.get("resourceType") == "Observation" and not ours


class PushedObservations:
    """Takes what the hook brings. ``found`` before the transaction, since it may ask a server; ``keep`` within it."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        one = settings.orders.fhir.ask if settings.orders.fhir is not None else ()
        # a reference (Patient/17) is believed only where it is certain whose it is
        self._server = settings.destinations.get(one[0]) if len(one) == 1 else None
        self._name = one[0] if len(one) == 1 else _HOOK  # what is asked for there is then known as the resource that was pushed

    def found(self, resources: Sequence[Json]) -> list[Whose]:
        """Return the Observations of a laboratory, each with its Patient.

        Raises
        ------
        OSError
            The server that knows the Patient cannot be asked for now.
        """
        if self._settings.orders.fhir is None:
            return []
        mine = [one for one in resources if is_of_laboratory(one)]
        within = [observations.subject_within(one, resources) for one in mine]
        names = {observations.subject_name(one) for one, patient in zip(mine, within, strict=True) if patient is None}
        asked = {name: self._ask(name) for name in names if name.startswith("Patient/")}
        return [Whose(one, patient or asked.get(observations.subject_name(one))) for one, patient in zip(mine, within, strict=True)]

    def keep(self, connection: sa.Connection, found: Sequence[Whose]) -> list[str]:
        """Keep them; return what became of each."""
        states = keep(connection, self._name, found, self._settings) if found else []
        if states:
            log.event("orders.observations", kind=_HOOK, count=len(states), outcome=", ".join(sorted(set(states))))
        return states

    def _ask(self, name: str) -> Json | None:
        """Return a Patient; ``None``: there is no such, none may be read, or nobody knows at which server."""
        if not isinstance(self._server, fhir_rest.Settings):
            return None
        try:
            with FhirServer(self._server) as server:
                return server.resource(name)
        except NodeError as error:
            if isinstance(error, HttpFailure) and error.status in (401, 403):
                return None
            raise OSError("the Patient of an Observation cannot be asked for") from error


class AskedObservations:
    """Asks FHIR servers for what runs wait for. One a process."""

    def __init__(self, database: sa.Engine, settings: NodeSettings, clock: Callable[[], float] = time.time) -> None:
        self._database, self._settings, self._clock = database, settings, clock
        self._asked: dict[tuple[str, str], float] = {}  # run, server -> when

    def look(self) -> int:
        """Ask for each run that is due; return how many Observations were found."""
        fhir = self._settings.orders.fhir
        if fhir is None or not fhir.ask:
            return 0
        with reading(self._database) as connection:
            waits = runs.waiting_runs(connection)
        self._asked = {key: at for key, at in self._asked.items() if key[0] in {one.request.run_key for one in waits}}
        found = 0
        for stored in waits:
            for name in fhir.ask:
                key, now = (stored.request.run_key, name), self._clock()
                if 0 <= now - self._asked.get(key, 0.0) < fhir.ask_seconds:
                    continue
                self._asked[key] = now
                found += self._guarded(stored, name, fhir)
        return found

    def _guarded(self, stored: runs.StoredRun, name: str, fhir: FhirLaboratorySettings) -> int:
        """Ask one server for one run; that it cannot be asked is told once in the story, and again and again asked."""
        study_key = stored.request.study_key
        try:
            return self._ask(stored, name, fhir)
        except (NodeError, OSError, ValueError, TypeError, AttributeError) as error:
            log.event("fhir.not_asked", destination=name, study=study_key, error=type(error).__name__)
        text = f'The FHIR server "{name}" could not be asked for laboratory values; it is asked again while the run waits.'
        with self._database.begin() as connection:
            if all(line.text != text for line in read_story(connection, study_key)):
                tell(connection, study_key, "orders", "laboratory.not_asked", text)
        return 0

    def _ask(self, stored: runs.StoredRun, name: str, fhir: FhirLaboratorySettings) -> int:
        with reading(self._database) as connection:
            patient = one_patient(connection, stored.request.study_key)
            inputs = waiting.inputs_of(connection, stored.request.study_key)
        mine = [one for one in inputs if one.run_key == stored.request.run_key]
        codes = observations.code_tokens([code for one in mine for code in one.codes])
        destination = self._settings.destinations[name]
        if patient is None or not codes or not isinstance(destination, fhir_rest.Settings):
            return 0
        number, issuer = (part.reveal() for part in patient)
        found: list[Whose] = []
        with FhirServer(destination) as server:
            for system, issued_by in fhir.patient_systems.items():
                if issuer and issued_by and plain(issuer) != plain(issued_by):
                    continue
                token = f"{observations.escaped(system)}|{observations.escaped(number)}"
                for person in server.search("Patient", ("identifier", token)):
                    if not observations.is_number(person, system, number):
                        continue
                    found += self._of_person(server, person, (system, number), codes)
        if found:
            with self._database.begin() as connection:
                keep(connection, name, found, self._settings)
            log.event("orders.observations", kind=name, study=stored.request.study_key, count=len(found))
        return len(found)

    def _of_person(self, server: FhirServer, person: Json, asked: tuple[str, str], codes: str) -> list[Whose]:
        """Return what the server has of a person; it is kept under the number that was asked for, whatever other they have."""
        system, number = asked
        name = f"Patient/{person.get('id')}"
        known = {"resourceType": "Patient", "identifier": [{"system": system, "value": number}]}
        answer = server.search("Observation", ("patient", name), ("code", codes))
        return [Whose(one, known) for one in answer if is_of_laboratory(one) and observations.subject_name(one) == name]
