"""``check``: will the PACS take what tells of an answer, and the note that asks it to hide a result?"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dicom_node.commands.checks.destinations import check_destinations
from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.load import load_settings
from dicom_node.home import Home
from tests.factories.quirky_peers import quirky_pacs

TEXT_SR, SR_3D, KEY_OBJECTS = (f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 34, 59))


def lines(tmp_path: Path, classes: tuple[str, ...], **settings: object) -> list[Line]:
    with quirky_pacs(classes=classes) as pacs:
        where = {"kind": "dicom_store", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
        rule = {"name": "chest", "pipeline": "cxr_tb", "release": "silent", "destinations": ["pacs"]}
        destination = {**where, "outputs": ["structured_report"], **settings}
        node = {"site": {"timezone": "UTC"}, "routing": {"rules": [rule]}, "destinations": {"pacs": destination}}
        (tmp_path / "node.yaml").write_text(yaml.safe_dump(node))
        return list(check_destinations(load_settings(Home(tmp_path).config)))


@pytest.mark.parametrize(
    ("classes", "settings", "told"),
    [
        ((SR_3D, KEY_OBJECTS, TEXT_SR), {}, {}),
        ((SR_3D, KEY_OBJECTS), {}, {"Basic Text SR": Mark.NOTE}),
        ((SR_3D, KEY_OBJECTS), {"assessments": False}, {}),
        ((SR_3D, TEXT_SR), {}, {"Key Object": Mark.NOTE}),
        ((SR_3D, TEXT_SR), {"hide_rejected": True}, {"hide_rejected": Mark.FAIL}),
        ((SR_3D, TEXT_SR, KEY_OBJECTS), {"hide_rejected": True}, {}),
    ],
)
def test_what_the_pacs_does_not_take_is_said(
    tmp_path: Path, classes: tuple[str, ...], settings: dict[str, object], told: dict[str, Mark]
) -> None:
    found = lines(tmp_path, classes, **settings)
    said = {word: line.mark for line in found for word in ("Basic Text SR", "Key Object", "hide_rejected") if word in line.text}
    if "hide_rejected" in said:
        said.pop("Key Object")
    assert said == told
