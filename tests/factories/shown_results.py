"""A node whose results can be looked at: rows and files as a run leaves them, without running one; and people who log in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from dicom_node.core.codes import GRAD_CAM, Code
from dicom_node.core.findings import (
    BundleRef,
    Decision,
    Finding,
    Findings,
    Flag,
    Picture,
    PolicyRef,
    SaliencyMap,
    SliceScore,
    Spread,
    Zone,
)
from dicom_node.core.identifiers import accession_token
from dicom_node.core.summary import summary_line
from dicom_node.feedback.settings import ReaderSettings
from dicom_node.home import Home
from dicom_node.imaging.slice_header import CT
from dicom_node.inference.findings_store import drop_arrays, save_findings
from dicom_node.inference.shown import keep_shown
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.web import sessions
from dicom_node.web.app import make_app
from dicom_node.web.passwords import hash_password
from dicom_node.web.settings import WebSettings
from dicom_node.web.site import Site

PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)  # once: it takes long on purpose
ROLES = {"rao": "reader", "young": "reader", "tech": "reader", "boss": "admin", "it": "it"}
READERS = (
    ReaderSettings(name="Rao^Asha^^Dr.", role="radiologist", login="rao", experience_years=12),
    ReaderSettings(name="Young^Tom", role="trainee", login="young"),
)
NAME, PATIENT, ACCESSION = "MARKER^Mina", "PID-4711", "ACC-0815"
SHAPE = (1024, 896)  # of the source image


def findings(sop_uid: str, picture: NDArray[np.uint8] | None = None) -> Findings:
    """Return a positive result of three classes, with a map and its picture."""
    bundle = BundleRef("cxr_demo", "1.0.0", "a" * 64, "demo", synthetic=True)
    # the strongest place at three tenths from the top and four from the left, so that left and up cannot be mixed up unseen
    grid = np.zeros((8, 8), np.float32)
    grid[2:4, 2:4] = [[0.6, 0.4], [1.0, 0.8]]
    placed = Spread(grid, _stretch(SHAPE[0], 8), _stretch(SHAPE[1], 8))
    image = np.full((640, 560), 90, np.uint8) if picture is None else picture
    return Findings(
        pipeline="cxr_tb",
        read=(sop_uid,),
        findings=(
            Finding("abnormal", Code("263654008", "SCT", "Abnormal"), Decision.POSITIVE, 0.913, 0.42, 0.31, 0.55),
            Finding("pneumonia", Code("233604007", "SCT", "Pneumonia"), Decision.NEGATIVE, 0.123, 0.5),
            Finding("tuberculosis", Code("56717001", "SCT", "Tuberculosis"), Decision.NOT_ASSESSED, note="Too few cases."),
        ),
        zone=Zone.SUSPECTED,
        headline="Abnormal, above the threshold.",
        policy=PolicyRef("screening", "b" * 64, True, "Sensitivity at least 0.90 with 95 % confidence."),
        bundles=(bundle,),
        flags=(Flag("under_exposed", "The image is under-exposed."),),
        maps=(SaliencyMap("abnormal", GRAD_CAM, "Grad-CAM", sop_uid, placed),),
        picture=Picture(sop_uid, SHAPE, image),
    )


def ct_findings(slices: Sequence[str]) -> Findings:
    """Return a positive result on slices of a CT; the last map shows nothing, and each picture has a gray of its own."""
    shape, bundle = (512, 512), BundleRef("ct_demo", "1.0.0", "a" * 64, "demo", synthetic=True)
    grids = [np.zeros((8, 8), np.float32) for _ in slices]
    for n, grid in enumerate(grids[:-1]):
        grid[2, 2 + n] = 1.0
    placed = [Spread(grid, _stretch(shape[0], 8), _stretch(shape[1], 8)) for grid in grids]
    return Findings(
        pipeline="ct_pima_ipn",
        read=tuple(slices),
        findings=(Finding("pima", Code("PIMA", "99PACSAI", "Mucinous adenocarcinoma"), Decision.POSITIVE, 0.8, 0.5),),
        zone=Zone.SUSPECTED,
        headline="Suspected.",
        policy=PolicyRef("published", "b" * 64, False, "none"),
        bundles=(bundle,),
        maps=tuple(SaliencyMap("pima", GRAD_CAM, "Grad-CAM", uid, one) for uid, one in zip(slices, placed, strict=True)),
        slices=tuple(SliceScore(uid, None, 0.9 - 0.1 * n, "marked") for n, uid in enumerate(slices)),
        pictures=tuple(Picture(uid, shape, np.full(shape, 60 + 40 * n, np.uint8)) for n, uid in enumerate(slices)),
    )


def _stretch(length: int, parts: int) -> NDArray[np.float32]:
    centres = (np.arange(length) + 0.5) * parts / length - 0.5
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(parts))).astype(np.float32)


@dataclass
class Office:
    """A node with pages."""

    site: Site
    app: FastAPI

    @property
    def database(self) -> sa.Engine:
        """Its rows."""
        return self.site.database

    def add_result(
        self, name: str = "one", *, revision: int = 1, picture: NDArray[np.uint8] | None = None, slices: int = 0, **values: Any
    ) -> str:
        """Add a study, or the next result of it; return the run key. ``slices``: of a CT, so many key slices."""
        key, sop_uid, now = f"rn_{name}{revision:02d}", f"1.2.826.0.1.{sum(map(ord, name))}.1", time.time()
        study = f"st_{name}"
        uids = [f"{sop_uid}.{n}" for n in range(slices)] or [sop_uid]
        made = ct_findings(uids) if slices else findings(sop_uid, picture)
        folder = self.site.home.results / key
        save_findings(folder, made)
        keep_shown(folder)
        drop_arrays(folder)
        run = {
            "run_key": key,
            "study_key": study,
            "pipeline": "cxr_tb",
            "rule": "chest",
            "revision": revision,
            "state": "analysed",
            "request": {"study_instance_uid": f"{sop_uid}.0", "study_revision": 1, "release": "silent"},
            "summary": summary_line(study, made),
            "requested_utc": now - 600 + revision,
            "finished_utc": now - 590,
        }
        with self.database.begin() as connection:
            if revision == 1:
                times = {"first_received_utc": now, "last_received_utc": now, "ceiling_utc": now}
                connection.execute(
                    sa.insert(tables.study).values(
                        study_key=study, study_instance_uid=f"{sop_uid}.0", state="routed", revision=1, **times
                    )
                )
                for n, uid in enumerate(uids):
                    row = _instance(study, uid, now)
                    if slices:
                        number = {"series_number": "2", "instance_number": str(57 + n), "modality": "CT"}
                        row |= {"sop_class_uid": CT, "facts": row["facts"] | number}
                    connection.execute(sa.insert(tables.instance).values(**row))
            connection.execute(sa.insert(tables.run).values(**{**run, **values}))
            connection.execute(sa.insert(tables.result_number).values(number=accession_token(ACCESSION), run_key=key))
        return key

    def verdicts(self) -> list[Any]:
        """Return the rows of the log."""
        with self.database.connect() as connection:
            return list(connection.execute(sa.select(tables.verdict).order_by(tables.verdict.c.number)))

    def private(self) -> list[dict[str, Any]]:
        """Return their erasable parts, in order."""
        c = tables.verdict_private.c
        with self.database.connect() as connection:
            query = sa.select(c.content).join(tables.verdict, tables.verdict.c.feedback_id == c.feedback_id)
            return list(connection.execute(query.order_by(tables.verdict.c.number)).scalars())

    def exposures(self) -> int:
        """Return how many times a result was looked at."""
        with self.database.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(tables.exposure)).scalar_one()


def _instance(study: str, sop_uid: str, now: float) -> dict[str, Any]:
    facts = {
        "patient_id": PATIENT,
        "patient_name": NAME,
        "birth_date": "19610704",
        "patient_sex": "F",
        "study_date": "20261120",
        "accession_number": ACCESSION,
        "study_description": "Chest PA",
        "modality": "DX",
    }
    return {
        "study_key": study,
        "sop_instance_uid": sop_uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "series_instance_uid": f"{sop_uid}.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "digest": "blake3:0",
        "size": 1,
        "storage_key": f"store/{study}.dcm",
        "facts": facts,
        "state": "current",
        "calling_ae": "DX1",
        "called_ae": "AINODE",
        "received_utc": now,
    }


def office(folder: Path, **web: Any) -> Office:
    """Return a node with five people who can log in; ``web`` are further settings of the pages."""
    home = Home(folder)
    home.results.mkdir(parents=True)
    users = [{"login": login, "role": role, "password_hash": HASH} for login, role in ROLES.items()]
    settings = WebSettings.model_validate({"users": users, **web})
    site = Site(open_database(default_url(folder)), home, settings, READERS)
    beats = {"receive": 0.5, "work": 0.5, "web": 0.5}
    return Office(site, make_app(site.database, "Hospital", lambda: beats, 10.0, site=site))


def without_login(made: Office) -> Office:
    """Return the same node before anybody set up a login."""
    site = replace(made.site, web=WebSettings())
    return Office(site, make_app(site.database, "Hospital", lambda: {"receive": 0.5, "work": 0.5}, 10.0, site=site))


def browser(made: Office, login: str = "rao") -> TestClient:
    """Return a browser in which somebody is logged in."""
    client = TestClient(made.app, base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False)
    client.cookies.set("ainode", sessions.begin(made.site.database, login, ROLES[login], hours=1))
    return client
