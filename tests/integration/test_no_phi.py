"""A study whose every identifying element is a marker leaves no marker where people and machines of other departments look."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.demo.peers import OrthancPacs, send
from dicom_node.store import tables
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.integration.running_node import SENDER, RunningNode

MARKER = "ZZMARKER"
IMAGE, _, _ = chest_phantom(seed=1, size=512)
#: Tables that hold what the sender wrote; they lie beside the images, and no page, log or metric shows them.
CLINICAL = {"study", "instance"}


def marked(seed: str, **elements: object) -> object:
    """Return a radiograph that identifies nobody but says so everywhere."""
    names = ("PatientID", "AccessionNumber", "StudyID", "InstitutionName", "StationName", "StudyDescription", "IssuerOfPatientID")
    values = {name: f"{MARKER}{n}" for n, name in enumerate(names)}
    values["PatientName"] = values["ReferringPhysicianName"] = f"{MARKER}^{seed}"
    return as_radiograph(IMAGE, seed=f"canary-{seed}", **{**values, **elements})


def test_no_marker_in_logs_engine_metrics_pages_or_file_names(node: RunningNode, pacs: OrthancPacs) -> None:
    """Analysed, refused, broken and conflicting studies leave no marker outside images, results and rows."""
    broken = marked("broken")
    broken.PixelData = broken.PixelData[:1000]  # type: ignore[attr-defined]
    good, child = marked("good"), marked("child", PatientBirthDate="20200101")
    mixed = marked("mixed"), marked("mixed", SOPInstanceUID="1.2.3.4", PatientID=f"{MARKER}OTHER")
    studies = [good, child, broken]
    for dataset in (*studies, *mixed):
        send([dataset], node.port, node.ae_title, SENDER)  # type: ignore[list-item]
    for dataset in studies:
        node.wait_until_answered(str(dataset.StudyInstanceUID))  # type: ignore[attr-defined]
    node.wait_until(str(mixed[0].StudyInstanceUID), lambda story: story["state"] == "held")  # type: ignore[attr-defined]
    secrets = [MARKER, *(str(d.StudyInstanceUID) for d in studies), *(str(d.SOPInstanceUID) for d in studies)]  # type: ignore[attr-defined]

    places = {"log": node.log(), "file names": "\n".join(str(p) for p in node.home.path.rglob("*"))}
    for path in ("/", "/metrics", "/healthz", "/readyz", "/nowhere", *(f"/studies/{s}" for s in _keys(node))):
        places[path] = node.get(path)[1]
    ours = {table.name for table in tables.metadata.sorted_tables}
    with node.database.connect() as connection:
        for name in sa.inspect(node.database).get_table_names():
            if name in CLINICAL:
                continue
            for row in connection.execute(sa.text(f'SELECT * FROM "{name}"')):
                places[f"table {name}"] = places.get(f"table {name}", "") + str(tuple(row))
    assert ours & {name.removeprefix("table ") for name in places}, "the tables were not looked at"
    found = {place for place, text in places.items() for secret in secrets if secret in text}
    found.discard("table run")  # the run's row names the images it read, for the pipeline; no page or log shows it
    assert found == set()


def _keys(node: RunningNode) -> list[str]:
    with node.database.connect() as connection:
        return list(connection.execute(sa.select(tables.study.c.study_key)).scalars())
