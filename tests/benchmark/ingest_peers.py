"""Receivers that are measured side by side, each fresh, with an empty store, on a free loopback port."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

from dicom_node.demo.peers import LOOPBACK, free_ports, listens, wait_for

CALLED, CALLING = "AINODE", "BENCH"


class Peer:
    """A receiver in a process of its own."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self.port = port
        with (folder / "out.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"})
        wait_for(command[0], lambda: listens(port))
        self._watched = psutil.Process(self._process.pid)

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        used = self._watched.cpu_times()
        return float(used.user + used.system + used.children_user + used.children_system)  # storescp forks

    def memory_bytes(self) -> int:
        """Resident memory now."""
        return int(self._watched.memory_info().rss)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _ours(folder: Path, path: str) -> Peer:
    port, web = free_ports(2)
    settings = {
        "site": {"timezone": "UTC"},
        "reception": {
            "host": LOOPBACK,
            "port": port,
            "ae_titles": [CALLED],
            "path": path,
            "peers": [{"ae_title": CALLING, "host": LOOPBACK}],
            "max_associations": 256,
            "max_associations_per_peer": 256,
        },
        "web": {"host": LOOPBACK, "port": web},
    }
    (folder / "node.yaml").write_text(yaml.safe_dump(settings))
    return Peer([sys.executable, "-m", "dicom_node", "serve", "--home", str(folder), "--only", "receive"], port, folder)


def ours_fast(folder: Path) -> Peer:
    """This node: sync of file and folder, row committed, then the answer."""
    return _ours(folder, "fast")


def ours_plain(folder: Path) -> Peer:
    """This node with the DICOM library reading the objects."""
    return _ours(folder, "plain")


def orthanc(folder: Path) -> Peer:
    """Orthanc as it comes: it syncs files too."""
    dicom, http = free_ports(2)
    config = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": CALLED,
        "DicomPort": dicom,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    return Peer(["/usr/sbin/Orthanc", str(folder / "orthanc.json")], dicom, folder)


def storescp(folder: Path) -> Peer:
    """DCMTK's receiver: it syncs nothing."""
    (port,) = free_ports(1)
    out = folder / "out"
    out.mkdir()
    command = ["/usr/bin/storescp", "--fork", "+xa", "-aet", CALLED, "-od", str(out), str(port)]
    return Peer(command, port, folder)


def bare_copy(folder: Path) -> Peer:
    """TCP to files with a sync each, no DICOM at all: what the machine can do."""
    (port,) = free_ports(1)
    return Peer([sys.executable, "-m", "tests.benchmark.ingest_peers", str(port), str(folder)], port, folder)


OURS, PLAIN, ORTHANC, DCMTK, BARE = "ours", "ours (plain path)", "Orthanc", "DCMTK storescp", "bare copy with sync"

ALL: dict[str, Callable[[Path], Peer]] = {OURS: ours_fast, PLAIN: ours_plain, ORTHANC: orthanc, DCMTK: storescp, BARE: bare_copy}


def serve_bare_copy(port: int, folder: Path) -> None:
    """Length, bytes; one byte back when they are on the disk."""

    def one(connection: socket.socket, name: str) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        view, number = memoryview(bytearray(1 << 20)), 0
        while len(head := connection.recv(8, socket.MSG_WAITALL)) == 8:
            left = struct.unpack(">Q", head)[0]
            descriptor = os.open(folder / f"{name}-{number}.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            while left:
                count = connection.recv_into(view[: min(left, len(view))])
                os.write(descriptor, view[:count])
                left -= count
            os.fdatasync(descriptor)
            os.close(descriptor)
            connection.sendall(b"k")
            number += 1

    with socket.create_server((LOOPBACK, port)) as listener:
        while True:
            connection, address = listener.accept()
            threading.Thread(target=one, args=(connection, f"{address[1]}-{time.monotonic_ns()}"), daemon=True).start()


if __name__ == "__main__":
    serve_bare_copy(int(sys.argv[1]), Path(sys.argv[2]))
