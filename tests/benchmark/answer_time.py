"""Seconds from the last C-STORE to the answer in the PACS: ``make bench``. Wall times swing on a shared machine."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from dicom_node.demo.peers import OrthancPacs, free_ports, send
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.integration.running_node import SENDER, RunningNode, configuration

ROUNDS = 5
SIZE = 2048


def main() -> None:
    """Run and print."""
    image, _, _ = chest_phantom(seed=1, size=SIZE, abnormal=True)
    seconds, model = [], []
    with tempfile.TemporaryDirectory() as folder:
        dicom_port, http_port = free_ports(2)
        pacs = OrthancPacs(Path(folder), dicom_port, http_port, "AINODE", 1)
        node = RunningNode(Path(folder) / "home", configuration(pacs_port=dicom_port))
        try:
            node.start()
            for number in range(ROUNDS + 1):
                dataset = as_radiograph(image, seed=f"bench{number}")
                send([dataset], node.port, node.ae_title, SENDER)
                sent = time.time()
                story = node.wait_until_answered(str(dataset.StudyInstanceUID))
                if number:  # the first one loads the networks
                    seconds.append(max(d["done_utc"] for d in story["deliveries"]) - sent)
                    model.append(story["runs"][0]["finished_utc"] - story["runs"][0]["requested_utc"])
        finally:
            node.close()
            pacs.stop()
    quiet = node.settings.studies.quiet_seconds
    print(f"| DX {SIZE}x{SIZE}, {ROUNDS} rounds | median s | min | max |\n| --- | --- | --- | --- |")
    for name, values in (
        (f"last C-STORE to SC + SR in the PACS (quiet time {quiet} s included)", seconds),
        ("of it: run requested to objects built", model),
    ):
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
