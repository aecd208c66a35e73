"""Commands called wrongly: a sentence and status 2, never a traceback and never silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.cli import main
from dicom_node.store.connect import default_url, open_database


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "node.yaml").write_text("site: {timezone: UTC}\n")
    open_database(default_url(tmp_path)).dispose()
    return tmp_path


def test_an_export_that_cannot_be_written_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["associations", "--home", str(home), "--export", str(home / "no" / "file")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_an_unknown_state_is_not_an_empty_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["deliveries", "--home", str(home), "--state", "daed"])
    assert ended.value.code == 2
    assert "dead" in capsys.readouterr().err
    assert main(["deliveries", "--home", str(home), "--state", "dead", "--state", "waiting"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study", "st_x"], "has not received a study of that name"),
        (["studies", "hold", "st_x"], "--legal"),
        (["studies", "hold", "st_x", "--legal"], "has not received a study of that name"),
        (["studies", "withdraw", "st_x"], "--reason wrong-patient"),
        (["studies", "release"], "name the study to release"),
        (["retention", "--delete", "--days", "3"], "--days is for listing"),
    ],
)
def test_what_is_missing_is_named(home: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--home", str(home)]) == 2
    assert said in capsys.readouterr().err
