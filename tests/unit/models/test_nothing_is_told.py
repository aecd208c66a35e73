"""Running a network tells nobody of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODEL = next((ROOT / "models/bundles/lungs_cxr").glob("*/model.onnx"))
LOAD = "import sys, models.session as s, pathlib; s.Session(pathlib.Path(sys.argv[1]), threads=1, device='cpu')"


def test_onnx_runtime_keeps_no_identifier_and_no_events_for_its_maker(tmp_path: Path) -> None:
    """Switched on, it leaves the identifier of this machine and a file of events to send under the user's cache folder.

    A process of its own, without the variable and without those by which ONNX Runtime knows a test machine.
    """
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", LOAD, str(MODEL)], env=environment, check=True, timeout=120)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == []
