"""A RIS's ear for HL7 v2 over MLLP, for development and tests: keeps the messages and acknowledges them. Loopback only.

    python deploy/dev/mllp_peer.py [--port 2575] [--code AA] [--out DIR]

Prints one line, ``{"listening": PORT}``, when ready. With ``--out`` each message is written as ``message-N.hl7``.
"""

from __future__ import annotations

import argparse
import json
import socketserver
from pathlib import Path

START, END = b"\x0b", b"\x1c\r"


class MllpPeer(socketserver.ThreadingTCPServer):
    """Answers every message with ``code``: AA, AE, AR, CA, CE, CR; ``none`` never answers, ``wrong`` names another message."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0, code: str = "AA", out: Path | None = None) -> None:
        self.code = code
        self.out = out
        self.messages: list[bytes] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def keep(self, message: bytes) -> None:
        """Remember one message."""
        self.messages.append(message)
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / f"message-{len(self.messages)}.hl7").write_bytes(message.replace(b"\r", b"\r\n"))


class _Handler(socketserver.BaseRequestHandler):
    server: MllpPeer

    def handle(self) -> None:
        held = b""
        while True:
            piece = self.request.recv(65536)
            if not piece:
                return
            held += piece
            while END in held:
                message, _, held = held.partition(END)
                message = message.lstrip(START)
                self.server.keep(message)
                if self.server.code != "none":
                    self.request.sendall(START + self._acknowledgement(message) + END)

    def _acknowledgement(self, message: bytes) -> bytes:
        fields = message.split(b"\r", 1)[0].split(b"|")
        control = fields[9] if len(fields) > 9 else b""
        wrong = self.server.code == "wrong"
        code = b"AA" if wrong else self.server.code.encode()
        header = b"|".join(
            [b"MSH", b"^~\\&", *fields[4:6], *fields[2:4], b"", b"", b"ACK^R01^ACK", b"A" + control[:19], b"P", b"2.5.1"]
        )
        return header + b"\rMSA|" + code + b"|" + (b"SOMETHINGELSE" if wrong else control) + b"\r"


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=2575)
    parser.add_argument("--code", default="AA", choices=["AA", "AE", "AR", "CA", "CE", "CR", "none", "wrong"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with MllpPeer(arguments.port, arguments.code, arguments.out) as peer:
        print(json.dumps({"listening": peer.server_address[1]}), flush=True)
        peer.serve_forever()


if __name__ == "__main__":
    main()
