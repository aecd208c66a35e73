"""Readers who could be taken for each other are told at once."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.config.load import parse_settings
from dicom_node.config.readers import readers_taken_twice
from dicom_node.core.errors import ConfigError

_RAO = {"name": "Rao^Asha", "login": "rao", "ae_titles": ["WS1"], "hl7_ids": ["4711"], "fhir_references": ["Practitioner/17"]}


@pytest.mark.parametrize(
    ("other", "where"),
    [
        ({"name": "Lind^Ove", "login": "rao"}, [("login",)]),
        ({"name": "Lind^Ove", "ae_titles": ["WS2", "WS1 "]}, [("ae_titles", 1)]),
        ({"name": "Lind^Ove", "hl7_ids": ["4711"]}, [("hl7_ids", 0)]),
        ({"name": "Lind^Ove", "fhir_references": ["Practitioner/17"]}, [("fhir_references", 0)]),
        ({"name": "RAO^ASHA^^"}, [("name",)]),
        ({"name": "Lind^Ove", "dicom_names": ["rao^asha"]}, [("dicom_names", 0)]),
        ({"name": "Lind^Ove", "login": "lind", "hl7_ids": ["rao"]}, []),
        ({"name": "Lind^Ove", "login": ""}, []),
        ("no reader", []),
        ({"name": 7, "ae_titles": "WS1 and others"}, []),
    ],
)
def test_what_two_readers_share_is_a_mistake(other: Any, where: list[tuple[object, ...]]) -> None:
    found = list(readers_taken_twice({"readers": [_RAO, other]}))
    assert [mistake.loc for mistake in found] == [("readers", 1, *path) for path in where]
    assert all("readers[0]" in mistake.message and mistake.message.endswith("to one.") for mistake in found)


def test_one_reader_may_say_a_thing_twice() -> None:
    assert list(readers_taken_twice({"readers": [{"name": "Rao^Asha", "dicom_names": ["RAO^ASHA"]}, {"login": ""}]})) == []
    assert list(readers_taken_twice({"readers": None})) == []


def test_the_mistake_is_shown_at_its_line() -> None:
    text = "site: {timezone: UTC}\nreaders:\n- {name: A^B, role: radiologist, login: x}\n- {name: C^D, role: trainee, login: x}\n"
    with pytest.raises(ConfigError, match=r":4:.*readers\[1\]\.login"):
        parse_settings(text)
