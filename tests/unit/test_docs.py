"""The documents name what there is, and link to what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicom_node.cli import COMMANDS
from dicom_node.plugins import known_kinds

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "conformance_statement.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALL_TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document names a file or folder of the repository."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (document.parent / target).resolve().exists()]
    assert missing == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"schema"}))
def test_every_command_is_documented(command: str) -> None:
    """Each command stands in a document as it is called."""
    assert f"dicom-node {command}" in ALL_TEXT


@pytest.mark.parametrize("family", ["pipeline", "output", "destination"])
def test_every_kind_is_documented(family: str) -> None:
    """Each kind's word stands in a document."""
    assert [kind for kind in known_kinds(family) if kind not in ALL_TEXT] == []


def test_readme_has_the_two_commands() -> None:
    """make demo and make test stand in the README, and CI calls the test command."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
