"""What the gates make of real files, and how often a classifier calls a picture unlike those it learned from.

``python -m models.training.gates --data DIR --dicom DIR [DIR …] --out DIR`` runs the node's own pipeline, writes ``gates.json`` and
an overlay of every radiograph that is read, and prints it all. With ``--write`` the figures go into the two bundles, and their
cards are written anew. Every file that the node would not read as a chest radiograph loses its whole header first: a plain CR
without body part, view, description and age is all that is left, so the pixels alone decide.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from dicom_node.core.errors import NodeError
from dicom_node.core.findings import Findings
from dicom_node.core.identifiers import study_key
from dicom_node.core.study import Instance, Study
from dicom_node.imaging.grayscale import grayscale
from dicom_node.imaging.header import read_instance
from dicom_node.imaging.overlay import draw_on
from dicom_node.imaging.pixels import read_dataset
from models.bundle import SHIPPED, find_bundle, load_bundle
from models.phantoms.dicom import as_radiograph, to_bytes
from models.session import Session
from models.training.amend import add_figures
from models.training.cxr.start import shipped_lungs
from models.training.data import read_index
from models.training.evaluate_bundle.overlays import caption
from models.training.gates.fit import TEST_SEEDS
from models.training.gates.pictures import Picture, chests, drawn, spoiled
from models.training.json_text import as_json
from models.training.statistics import clopper_pearson
from pipelines import cxr_tb
from pipelines.blocks.classify import classify
from pipelines.blocks.frontal_gate import FRONTAL
from pipelines.blocks.lungs import LungLimits, find_lungs
from pipelines.blocks.prepare_cxr import prepare
from pipelines.blocks.quality import Outcome, body_part_gate, view_of

OUT_OF_DISTRIBUTION = "unlike the training images"
#: Gates that would refuse before the pixels are looked at: a small matrix, an age that a bare header cannot give.
OPENED: dict[str, Any] = {"least_matrix": 32, "low_matrix": 32, "accept_age_unknown": True, "device": "cpu"}
_GONE = (
    "BodyPartExamined", "ViewPosition", "SeriesDescription", "StudyDescription", "PatientBirthDate", "PatientSex", "Modality",
    "PatientOrientation", "ImagerPixelSpacing", "ImageType", "Manufacturer", "ManufacturerModelName", "WindowCenter", "WindowWidth",
)  # fmt: skip


def stripped(instance: Instance, name: str) -> bytes:
    """Return the picture as a CR whose header says nothing about it.

    Raises
    ------
    dicom_node.core.errors.StudyError
        The pixels cannot be read.
    """
    values = grayscale(read_dataset(instance.path)).values
    gone: dict[str, Any] = dict.fromkeys(_GONE)
    return to_bytes(as_radiograph(values, seed=name, modality="CR", **gone))


def read_folder(folder: Path, bundles: Mapping[str, Path], out: Path, policy: str = "screening") -> list[dict[str, Any]]:
    """Run every DICOM file under ``folder`` through the pipeline and return a line each; overlays go to ``out``."""
    usual, opened = cxr_tb.Settings(device="cpu", accept_age_unknown=True), cxr_tb.Settings(**OPENED)
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        try:
            instance = read_instance(path)
        except (NodeError, OSError):
            continue  # no DICOM file
        if not instance.facts.has_pixel_data:
            continue
        study = _study(instance)
        selection = cxr_tb.select_images(study, usual)
        chest = body_part_gate(instance.facts).outcome is Outcome.PASS and view_of(instance.facts) in ("PA", "AP")
        if selection.read:
            found = cxr_tb.run(study, selection, bundles, policy, usual)
            lines.append({"file": name, "chest": chest, "header": "as it is", **_said(found)})
            _draw(found, out / f"{name.replace('/', '-')}.png", name)
            continue
        try:
            bare = stripped(instance, name)
        except NodeError as error:
            failed = {"answer": "refused", "reason": "unreadable_pixels", "detail": str(error)}
            lines.append({"file": name, "chest": chest, "header": "taken away", **failed})
            continue
        with TemporaryDirectory() as place:
            copy = Path(place) / "bare.dcm"
            copy.write_bytes(bare)
            study = _study(read_instance(copy))
            found = cxr_tb.run(study, cxr_tb.select_images(study, opened), bundles, policy, opened)
        lines.append({"file": name, "chest": chest, "header": "taken away", **_said(found)})
        _draw(found, out / f"PASSED-{name.replace('/', '-')}.png", name)
    return lines


def unlike(pictures: Iterable[Picture], classifier: Path, lungs: Path) -> list[dict[str, Any]]:
    """Return for each kind of picture how many lie farther than the bundle's limit, one picture a group (patient, phantom)."""
    network, finder = load_bundle(classifier), load_bundle(lungs)
    session, looking = (Session(bundle.model, threads=1, device="cpu") for bundle in (network, finder))
    far: dict[tuple[str, str], dict[str, bool]] = {}
    for p in pictures:
        groups = far.setdefault((p.kind, f"{p.what}, {p.source}" if p.kind == FRONTAL and p.source else p.what), {})
        if p.group in groups:
            continue
        seen = find_lungs(p.image, looking, finder.config, LungLimits())
        said = classify(prepare(p.image, network.config["preprocessing"], seen.box, lungs=seen.mask), network, session)
        if said.distance is None:
            return []
        groups[p.group] = said.distance > 1
    lines = []
    for (kind, what), groups in sorted(far.items(), key=lambda item: (item[0][0] != FRONTAL, item[0][1])):
        chest = kind == FRONTAL
        hits = sum(groups.values()) if chest else len(groups) - sum(groups.values())
        lines.append(
            {
                "gate": OUT_OF_DISTRIBUTION,
                "wrong_to": "flags" if chest else "does not flag",
                "people": what,
                "hits": hits,
                "n": len(groups),
                "clopper_pearson": list(clopper_pearson(hits, len(groups))),
            }
        )
    return lines


def told(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return what the card says about real files of other things, worst first."""
    bare = [line for line in lines if line["header"] == "taken away" and not line["chest"]]
    seen = [line for line in bare if line["reason"] != "unreadable_pixels"]
    passed = [line["file"] for line in seen if line["answer"] != "refused"]
    if not bare:
        return ""
    verdict = f"NOT refused: {', '.join(passed)}" if passed else "all are refused by their pixels"
    rest = f"; {len(bare) - len(seen)} more could not be decoded" if len(seen) < len(bare) else ""
    return f"Of {len(seen)} real DICOM files of something else, with the whole header taken away, {verdict}{rest}."


def _study(instance: Instance) -> Study:
    return Study(study_key(instance.study_instance_uid), instance.study_instance_uid, (instance,))


def _said(found: Findings) -> dict[str, Any]:
    if found.abstention is not None:
        return {"answer": "refused", "reason": found.abstention.reason, "detail": found.abstention.detail}
    return {"answer": found.headline, "reason": "", "detail": ", ".join(flag.key for flag in found.flags)}


def _draw(found: Findings, path: Path, name: str) -> None:
    if found.picture is None:
        return
    first = found.maps[0] if found.maps else None
    drawn_on = draw_on(
        found.picture.values,
        found.picture.shape,
        caption(found, name),
        saliency=first.placed if first else None,
        lungs=found.lungs.values if found.lungs else None,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), drawn_on.pixels[:, :, ::-1])


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m models.training.gates.real_files", description=__doc__)
    parser.add_argument("--data", type=Path, help="research set; its test part is looked at")
    parser.add_argument("--dicom", type=Path, nargs="*", default=[], help="folders of DICOM files, chests and others")
    parser.add_argument("--bundle", type=Path, help="classifier bundle (default: the shipped one)")
    parser.add_argument("--lungs", type=Path, help="lung bundle (default: the shipped one)")
    parser.add_argument("--out", type=Path, required=True, help="folder for gates.json and the overlays")
    parser.add_argument("--write", action="store_true", help="put the figures into the bundles and write their cards anew")
    options = parser.parse_args()
    classifier = options.bundle or find_bundle("cxr_tb", None, (SHIPPED,))
    lungs = options.lungs or shipped_lungs()
    options.out.mkdir(parents=True, exist_ok=True)
    files = [
        line for folder in options.dicom for line in read_folder(folder, {"cxr_tb": classifier, "lungs_cxr": lungs}, options.out)
    ]
    for line in files:
        print(f"{line['file']}: header {line['header']}: {line['answer']} {line['reason']} {line['detail']}")
    print(told(files))
    rates: list[dict[str, Any]] = []
    if options.data:
        test = [row for row in read_index(options.data) if row.part == "test"]
        shown = chain(chests(options.data, test, disturbed=False), spoiled(options.data, test[::3], 1), drawn(TEST_SEEDS[::2]))
        rates = unlike(shown, classifier, lungs)
        for row in rates:
            low, high = row["clopper_pearson"][1:]
            print(f"{row['people']}: {row['wrong_to']} {row['hits']}/{row['n']} ({low:.3f} to {high:.3f})")
    (options.out / "gates.json").write_text(as_json({"files": files, OUT_OF_DISTRIBUTION: rates}), encoding="utf-8")
    if options.write:
        _write(classifier, lungs, files, rates)


def _write(classifier: Path, lungs: Path, files: Sequence[Mapping[str, Any]], rates: Sequence[Mapping[str, Any]]) -> None:
    if rates:
        add_figures(classifier, {"gates": list(rates)})
    if text := told(files):
        metrics = json.loads((lungs / "metrics.json").read_text(encoding="utf-8"))
        before = metrics.get("gates_text", "").split(" Of ")[0]
        add_figures(lungs, {"gates_text": f"{before} {text}", "gates_on_files": list(files)})
