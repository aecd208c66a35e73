"""The demo itself: start the peers, send three studies, wait for the answers in the PACS, write them down."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from dicom_node.config.load import load_settings
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import PeerError, UsageError
from dicom_node.core.identifiers import study_key
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.demo import peers
from dicom_node.demo.answer import accept
from dicom_node.demo.configuration import ACCEPT_AE, NODE_AE, RADIOGRAPHS, write_configuration
from dicom_node.demo.present import write_answers, write_object
from dicom_node.home import Home
from dicom_node.node import database_url
from dicom_node.store.connect import open_database, reading
from dicom_node.studies import account as studies

#: A delivery in one of these states will not change by itself.
SETTLED = ("done", "done_with_warning", "dead", "withheld", "cancelled")


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def sample_studies() -> list[tuple[str, Dataset]]:
    """Return the three studies: a real chest radiograph, a phantom with an abnormality, a limb that must be refused.

    Raises
    ------
    UsageError
        The public sample images of PyPI ``pydicom-data`` are not installed.
    """
    from models.phantoms.cxr import chest_phantom
    from models.phantoms.dicom import as_radiograph

    files = {name: get_testdata_file(name, download=False) for name in ("RG1_UNCR.dcm", "RG3_UNCR.dcm")}
    if not all(files.values()):
        raise UsageError("the demo needs the sample images of the PyPI package pydicom-data: pip install pydicom-data")
    image, _, _ = chest_phantom(seed=7, size=1024, abnormal=True)
    phantom = as_radiograph(image, seed="demo", StudyDate=dt.date.today().strftime("%Y%m%d"))
    return [
        ("real chest radiograph (Philips CR, PA)", dcmread(str(files["RG1_UNCR.dcm"]))),
        ("phantom with an abnormality", phantom),
        ("radiograph of a limb, to be refused", dcmread(str(files["RG3_UNCR.dcm"]))),
    ]


@dataclass(frozen=True)
class Loopback:
    """A node and its peers, running."""

    home: Home
    settings: NodeSettings
    database: sa.Engine
    pacs: peers.OrthancPacs | peers.PlainPacs
    hl7_folder: Path


@contextmanager
def loopback(out: Path, rule: str = RADIOGRAPHS, bundles: Sequence[Path] = ()) -> Iterator[Loopback]:
    """Start the peers and a node with one rule, and stop them at the end. ``bundles``: folders that the site brings."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicom-node-demo-")))
        home = Home(work / "home")
        dicom_port, web_port, pacs_port, pacs_http, fhir_port, hl7_port = peers.free_ports(6)

        say("starting the peers on loopback")
        pacs = peers.start_pacs(work, pacs_port, pacs_http, NODE_AE, dicom_port)
        stack.callback(pacs.stop)
        say(f"  PACS: {pacs.name}")
        fhir, fhir_name = peers.start_fhir(work, fhir_port)
        stack.callback(fhir.stop)
        say(f"  FHIR: {fhir_name}")
        hl7, hl7_folder = peers.start_mllp(work, hl7_port)
        stack.callback(hl7.stop)
        say("  HL7: an MLLP receiver")

        ports = {"dicom_port": dicom_port, "web_port": web_port, "pacs_port": pacs_port, "fhir_port": fhir_port}
        write_configuration(home.path, **ports, hl7_port=hl7_port, rule=rule)
        for folder in bundles:
            shutil.copytree(folder, home.bundles / folder.parent.name / folder.name)
        shutil.copy(home.config, out / "node.yaml")
        settings = load_settings(home.config)
        say(f"starting the node ({NODE_AE})")
        node = peers.Process([sys.executable, "-m", "dicom_node", "serve", "--home", home.path], out / "node.log")
        stack.callback(node.stop)
        peers.wait_for("the node", lambda: peers.listens(dicom_port))
        database = open_database(database_url(home, settings))
        stack.callback(database.dispose)
        yield Loopback(home, settings, database, pacs, hl7_folder)


def fresh(out: Path) -> None:
    """Make an empty folder for what the demo writes."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)


def run_demo(out: Path) -> int:
    """Do the whole walk; returns 0 when every study came back as it should."""
    fresh(out)
    started = time.monotonic()
    with loopback(out) as here:
        lines = []
        overlays: list[tuple[Path, Dataset]] = []
        for name, dataset in sample_studies():
            uid = str(dataset.StudyInstanceUID)
            say(f"{name}: stored in the PACS, forwarded to the node")
            peers.send([dataset], here.pacs.dicom_port, peers.PACS_AE, NODE_AE)
            story, back, sent = answer_of(here, uid)
            files = write_answers(out, _folder_name(name), story, here.home.results, back)
            lines.append(summary(name, story, files, sent, here.settings.studies.quiet_seconds))
            say(f"  {_told(lines[-1])}")
            overlays += [(file.parent, d) for file, d in files if d.Modality == "OT"]
        if overlays:
            folder, overlay = overlays[0]
            say(f'a radiologist answers the first one: "send to" {ACCEPT_AE} in the viewer')
            told, report = accept(here.pacs, here.database, here.home.path, study_key(str(overlay.StudyInstanceUID)), overlay)
            write_object(folder, 1 + len(list(folder.glob("*.dcm"))), report)
            say(f"  dicom-node verdicts: {told}")
            say(f"  In the PACS: {report.SeriesDescription}")
        received = sorted(here.hl7_folder.iterdir())
        say(f"HL7 receiver got {len(received)} message(s)")
        (out / "summary.json").write_text(json.dumps(lines, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    problems = _problems(lines)
    return end(problems, out, started)


def end(problems: Sequence[str], out: Path, started: float) -> int:
    """Say how it went; 0 when all was as it should be."""
    for problem in problems:
        say(f"FAILED: {problem}")
    say(f"{'done' if not problems else 'not as it should be'} in {time.monotonic() - started:.0f} s; see {out}/")
    return 1 if problems else 0


def answer_of(here: Loopback, uid: str, seconds: float = 60.0) -> tuple[dict[str, Any], list[Dataset], float]:
    """Forward a study to the node and wait for what comes back into the PACS; return its story, the objects, when it was sent."""
    here.pacs.forward(uid)
    sent = time.time()
    story = _wait_until_settled(here.database, study_key(uid), seconds)
    return story, [d for d in here.pacs.fetch(uid) if d.get("ManufacturerModelName") == PRODUCT_NAME], sent


def _wait_until_settled(database: Any, key: str, seconds: float) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with reading(database) as connection:
            try:
                story = studies.study_story(connection, key)
            except UsageError:
                story = {}
        deliveries = story.get("deliveries", [])
        if deliveries and all(d["state"] in SETTLED for d in deliveries):
            return story
        time.sleep(0.1)
    raise PeerError(f"study {key} has no complete answer after {seconds:g} s; see node.log")


def summary(name: str, story: dict[str, Any], files: Sequence[tuple[Path, Dataset]], sent: float, quiet: float) -> dict[str, Any]:
    """Return what became of a study: its result, the objects in the PACS, every delivery, the time that it took."""
    line = dict(story["runs"][-1]["summary"])
    stored = [d["done_utc"] for d in story["deliveries"] if d["destination"] == "pacs" and d["done_utc"]]
    seconds = round(max(stored) - sent, 2) if stored else None
    line.update(
        sample=name,
        objects=[{"sop_class": d.SOPClassUID, "sop_instance_uid": d.SOPInstanceUID, "file": str(file)} for file, d in files],
        deliveries=[
            {"output": d["role"], "destination": d["destination"], "state": d["state"], "detail": d["detail"]}
            for d in story["deliveries"]
        ],
        seconds_from_last_store_to_stored_back=seconds,
        quiet_seconds=quiet,
    )
    return line


def _told(line: dict[str, Any]) -> str:
    kinds = ", ".join(UID(item["sop_class"]).name.removesuffix(" Storage") for item in line["objects"])
    said = line["headline"] if line["status"] == "analysed" else f"not analysed: {line['reason']}"
    return f"{said} In the PACS after {line['seconds_from_last_store_to_stored_back']} s: {kinds}"


def _problems(lines: Sequence[dict[str, Any]]) -> list[str]:
    return problems_of(lines, ("analysed", "analysed", "not_analysed"))


def problems_of(lines: Sequence[dict[str, Any]], expected: Sequence[str]) -> list[str]:
    """Return what is not as it should be: another outcome, a delivery that failed, nothing in the PACS."""
    wrong = [
        f"{line['sample']}: {line['status']}" for line, status in zip(lines, expected, strict=True) if line["status"] != status
    ]
    for line in lines:
        wrong += [
            f"{line['sample']}: {d['output']} to {d['destination']}: {d['detail']}"
            for d in line["deliveries"]
            if d["state"] == "dead"
        ]
        if not line["objects"]:
            wrong.append(f"{line['sample']}: nothing came back into the PACS")
    return wrong


def _folder_name(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split()[:4]).lower()
