"""Seconds from the last C-STORE of a chest CT to its results, hop by hop: ``make bench``. Wall times swing on a shared machine.

An idle node gets one series of 300 slices of 512 x 512 after the other. Quiet time is taken off. The bound is one and a half times
the time spent within networks plus 5 s; with the twin that ships, networks take next to nothing of it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from dicom_node.demo.peers import free_ports, send
from models.phantoms.ct import thorax
from models.phantoms.ct_dicom import as_series
from tests.benchmark.answer_time import HOPS, TOTAL, hops_of, print_hops
from tests.integration.running_node import SENDER, RunningNode, configuration

ROUNDS = 3
OUTPUTS = ("secondary_capture", "text_report", "structured_report", "lung_segmentation", "saliency_segmentation")
QUIET_SECONDS = 0.5
#: The analysis may take so many times the seconds within networks, and so many seconds more.
TIMES, SECONDS = 1.5, 5.0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle; default: the shipped one")
    options = parser.parse_args()
    drawn = thorax(11, slices=options.slices, size=options.size, nodules=(("pima", 24.0),))
    with tempfile.TemporaryDirectory(prefix="ct-answer-") as folder:
        node = node_for(Path(folder), options.bundle)
        try:
            node.start()
            time.sleep(5)  # networks are loaded in the background
            rounds = []
            for n in range(ROUNDS + 1):  # the first is not counted
                objects = as_series(drawn, seed=f"benchmark ct {n}")
                send(objects, node.port, node.ae_title, SENDER)
                rounds.append(hops_of(node, str(objects[0].StudyInstanceUID), time.time(), QUIET_SECONDS, 900))
        finally:
            node.close()
    print(f"| CT {options.slices} x {options.size}x{options.size}, {ROUNDS} rounds, ms | median | min | max |")
    print("| --- | --- | --- | --- |")
    print_hops(rounds[1:])
    model, total = (statistics.median(hops[name] for hops in rounds[1:]) for name in (HOPS[3], TOTAL))
    must = model * TIMES + SECONDS
    print(f"must: {total:.1f} s of {must:.1f} s allowed, {'kept' if total <= must else 'MISSED'}")


def node_for(folder: Path, bundle: Path | None) -> RunningNode:
    """Return a node that reads chest CT and leaves results in a folder."""
    settings = configuration(
        pacs_port=free_ports(1)[0],
        outputs=OUTPUTS,
        name="chest CT",
        when={"modality": ["CT"]},
        pipeline="ct_pima_ipn",
        policy="published",
        destinations=["pacs"],
    )
    out = folder / "out"
    out.mkdir()
    settings["destinations"]["pacs"] = {"kind": "folder", "path": str(out), "outputs": list(OUTPUTS), "allow_unvalidated": True}
    settings["studies"] = {"quiet_seconds": QUIET_SECONDS, "quiet_seconds_ct": QUIET_SECONDS}
    settings["inference"] = {"allow_synthetic": True, "timeout_seconds": 900}
    node = RunningNode(folder / "home", settings)
    if bundle is not None:
        shutil.copytree(bundle, node.home.bundles / bundle.parent.name / bundle.name)
    return node


if __name__ == "__main__":
    main()
