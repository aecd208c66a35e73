"""The JSON Schema and the settings reference."""

from __future__ import annotations

from pathlib import Path

from dicom_node.config.model import NodeSettings
from dicom_node.config.reference import settings_reference
from dicom_node.config.schema import json_schema
from dicom_node.plugins import known_kinds


def test_the_schema_names_every_kind_of_destination() -> None:
    """Editors get the settings of every kind that is installed."""
    schema = json_schema()
    branches = schema["properties"]["destinations"]["additionalProperties"]["oneOf"]
    assert {branch["$ref"].removeprefix("#/$defs/destination_") for branch in branches} == set(known_kinds("destination"))
    for branch in branches:
        definition = schema["$defs"][branch["$ref"].removeprefix("#/$defs/")]
        assert "kind" in definition["properties"]
        assert "kind" in definition["required"]
    assert set(schema["properties"]) == set(NodeSettings.model_fields)
    assert "site" in schema["required"]


def test_every_reference_in_the_schema_exists() -> None:
    """No $ref points nowhere."""
    schema = json_schema()
    names: set[str] = set()

    def collect(part: object) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                names.add(part["$ref"].removeprefix("#/$defs/"))
            for value in part.values():
                collect(value)
        elif isinstance(part, list):
            for value in part:
                collect(value)

    collect(schema)
    assert names <= set(schema["$defs"])


def test_the_settings_page_is_what_the_models_say() -> None:
    """docs/reference/settings.md is up to date: make it again with python -m dicom_node.config.reference."""
    assert (Path(__file__).resolve().parents[3] / "docs/reference/settings.md").read_text(encoding="utf-8") == settings_reference()


def test_every_setting_has_a_meaning() -> None:
    """No row of the page lacks its description."""
    rows = [line for line in settings_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []
