"""The wheel carries everything that serving needs, bundles included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph, to_bytes

ROOT = Path(__file__).resolve().parents[2]


def test_an_installed_wheel_analyses_a_study(tmp_path: Path) -> None:
    """A wheel, unpacked away from the checkout, analyses a radiograph with the bundles it carries."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("dicom_node-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    image, _, _ = chest_phantom(seed=2, size=512)
    (tmp_path / "chest.dcm").write_bytes(to_bytes(as_radiograph(image)))
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import dicom_node; print(dicom_node.__file__);"
        "from dicom_node.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, site, "analyze", "chest.dcm", "--pipeline", "cxr_tb", "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    where, line = done.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert json.loads(line)["objects"]
