"""Each destination on its own: one that is down or refuses delays nobody, and what was parked is sent again by one command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import BasicTextSRStorage, SecondaryCaptureImageStorage

from dicom_node.demo.peers import LOOPBACK, free_ports, send
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.integration.running_node import SENDER, RunningNode, configuration


def start_pacs(port: int, ae_title: str, received: list[str]) -> Any:
    """Start a small PACS that answers to one AE title only."""

    def keep(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    entity = AE(ae_title)
    entity.require_called_aet = True
    entity.add_supported_context(BasicTextSRStorage)
    entity.add_supported_context(SecondaryCaptureImageStorage)
    return entity.start_server((LOOPBACK, port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])


def test_a_dead_and_a_refusing_destination_delay_nobody_and_one_command_sends_again(
    tmp_path: Path, make_node: Callable[[dict[str, Any]], RunningNode]
) -> None:
    """A PACS that is down waits, one that rejects us is parked with advice, the folder has all; retry delivers what was parked."""
    down_port, port = free_ports(2)
    folder = tmp_path / "results"
    folder.mkdir()
    settings = configuration(pacs_port=port, destinations=["pacs", "down", "folder"])
    outputs = ["secondary_capture", "text_report"]
    settings["destinations"]["down"] = {**settings["destinations"]["pacs"], "port": down_port, "outputs": list(outputs)}
    settings["destinations"]["folder"] = {"kind": "folder", "path": str(folder), "outputs": outputs, "allow_unvalidated": True}
    received: list[str] = []
    server = start_pacs(port, "SOMEBODYELSE", received)
    node = make_node(settings)
    image, _, _ = chest_phantom(seed=4, size=512)
    dataset = as_radiograph(image)
    uid = str(dataset.StudyInstanceUID)
    send([dataset], node.port, node.ae_title, SENDER)

    def states(story: dict[str, Any]) -> dict[str, set[str]]:
        return {name: {d["state"] for d in story["deliveries"] if d["destination"] == name} for name in ("pacs", "down", "folder")}

    expected = {"pacs": {"dead"}, "down": {"waiting"}, "folder": {"done"}}
    story = node.wait_until(uid, lambda s: states(s) == expected)
    assert len(list(folder.rglob("*.dcm"))) == 2
    assert all("DEMOPACS" in d["detail"] for d in story["deliveries"] if d["destination"] == "pacs")  # says which title to correct
    assert received == []

    server.shutdown()
    server = start_pacs(port, "DEMOPACS", received)
    command = [sys.executable, "-m", "dicom_node", "deliveries", "retry", "--home", str(node.home.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 deliveries" in done.stdout
    node.wait_until(uid, lambda s: states(s)["pacs"] == {"done"})
    server.shutdown()
    assert len(set(received)) == len(received) == 2
