"""How long a CT series of 300 slices takes: from the last C-STORE to results on disk, beside the seconds within networks.

``python -m tests.benchmark.ct_answer_time [--slices 300] [--size 512] [--bundle FOLDER]``. Must: model seconds x 1.5 + 5.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from dicom_node.demo.peers import LOOPBACK, free_ports, send
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from tests.integration.running_node import SENDER, RunningNode, configuration

OUTPUTS = ("secondary_capture", "text_report", "structured_report", "lung_segmentation", "saliency_segmentation")
#: The analysis may take so many times the seconds within networks, and so many seconds more.
TIMES, SECONDS = 1.5, 5.0


def measure(slices: int, size: int, bundle: Path | None) -> tuple[float, float]:
    """Return seconds from the last C-STORE (less the quiet time) to stored results, and seconds within networks."""
    with tempfile.TemporaryDirectory(prefix="ct-answer-") as folder:
        settings = configuration(
            pacs_port=free_ports(1)[0],
            outputs=OUTPUTS,
            name="chest CT",
            when={"modality": ["CT"]},
            pipeline="ct_pima_ipn",
            policy="published",
            destinations=["pacs"],
        )
        out = Path(folder) / "out"
        out.mkdir()
        settings["destinations"]["pacs"] = {"kind": "folder", "path": str(out), "outputs": list(OUTPUTS), "allow_unvalidated": True}
        settings["studies"] = {"quiet_seconds": 0.5, "quiet_seconds_ct": 0.5}
        settings["inference"] = {"allow_synthetic": True, "timeout_seconds": 900}
        node = RunningNode(Path(folder) / "home", settings)
        if bundle is not None:
            shutil.copytree(bundle, node.home.bundles / bundle.parent.name / bundle.name)
        drawn = thorax(11, slices=slices, size=size, nodules=(("pima", 24.0),))
        objects = as_series(drawn, seed="benchmark ct")
        node.start()
        try:
            time.sleep(5)  # networks are loaded before the first study
            send(objects, node.port, node.ae_title, SENDER)
            last = time.time()
            uid = str(objects[0].StudyInstanceUID)
            story = node.wait_until_answered(uid, 900)
            done = max(d["done_utc"] for d in story["deliveries"])
            model = [line for line in node.log().splitlines() if '"run.computed"' in line][-1]
        finally:
            node.close()
    return done - last - 0.5, float(model.partition('"model_seconds": ')[2].rstrip("}"))


def main() -> int:
    """Print the figures; 1 where the must is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle; default: the shipped one")
    options = parser.parse_args()
    took, model = measure(options.slices, options.size, options.bundle)
    must = model * TIMES + SECONDS
    print(f"{options.slices} slices of {options.size} x {options.size}, sent from {LOOPBACK}")
    print(f"last C-STORE to stored results, less the quiet time: {took:.1f} s; within networks {model:.1f} s")
    print(f"must: {must:.1f} s: {'met' if took <= must else 'MISSED'}")
    return int(took > must)


if __name__ == "__main__":
    raise SystemExit(main())
