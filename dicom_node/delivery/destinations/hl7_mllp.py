"""HL7 v2 over MLLP: one message, one connection, one acknowledgement that names the message (HL7 v2.5.1, 2.9; MLLP release 1)."""

from __future__ import annotations

import socket
import ssl
import time

from pydantic import Field

from dicom_node.core.artifact import HL7, Artifact
from dicom_node.core.delivery import Outcome, Receipt
from dicom_node.core.errors import Hl7Nack, PeerError, PeerTimeout, PeerUnreachable
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.network.tls import current_context
from dicom_node.network.tls_settings import ClientTls
from dicom_node.network.tls_words import tls_failure

MEDIA_TYPES = (HL7,)

START, END = b"\x0b", b"\x1c\r"
_LONGEST_ACKNOWLEDGEMENT = 1 << 20
_MEANINGS = {
    "AE": "the receiver reports an application error",
    "AR": "the receiver rejects the message",
    "CE": "the receiver could not keep the message",
    "CR": "the receiver rejects the message",
}


class Settings(DestinationSettings):
    """An HL7 v2 receiver, usually the RIS or an interface engine."""

    host: str = Field(min_length=1, description="Address or name of the receiver.")
    port: int = Field(ge=1, le=65535, description="TCP port of the receiver, often 2575.")
    tls: ClientTls | None = Field(default=None, description="Encrypt the connection. Default: plain TCP.")


def send(artifact: Artifact, settings: Settings) -> Receipt:
    """Send the message; delivered when it is acknowledged with AA or CA under its own MSH-10."""
    deadline = time.monotonic() + settings.timeout_seconds
    try:
        with _connection(settings) as connection:
            connection.sendall(START + artifact.data + END)
            answer = _read_block(connection, deadline)
    except ssl.SSLError as error:
        raise tls_failure(error, whose="The receiver") from error
    except TimeoutError as error:
        raise PeerTimeout("The receiver did not acknowledge the message in time.") from error
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise PeerUnreachable(f"The receiver cannot be reached at {settings.host}:{settings.port}.") from error
    except OSError as error:
        raise PeerTimeout(
            f"The connection to {settings.host}:{settings.port} broke before the acknowledgement ({type(error).__name__})."
        ) from error
    code, control_id = acknowledgement(answer)
    if control_id != artifact.identifier:
        raise PeerError("The acknowledgement is for another message.")
    if code in ("AA", "CA"):
        return Receipt(Outcome.DELIVERED, code)
    if code in _MEANINGS:
        raise Hl7Nack(f"Acknowledgement {code}: {_MEANINGS[code]}.", code=code)
    raise PeerError("The acknowledgement has no code that HL7 knows.")


def acknowledgement(block: bytes) -> tuple[str, str]:
    """Return MSA-1 and MSA-2 of an acknowledgement; empty where there is none. The rest, which can name a patient, is not read."""
    segments = block.replace(b"\n", b"\r").split(b"\r")
    header = next((segment for segment in segments if segment.startswith(b"MSH") and len(segment) > 3), b"MSH|")
    separator = header[3:4]
    for segment in segments:
        fields = segment.split(separator)
        if fields[0] == b"MSA":
            code, control_id = [*fields[1:3], b"", b""][:2]
            return code.decode("ascii", "replace").strip(), control_id.decode("ascii", "replace").strip()
    return "", ""


_WHY = {
    socket.gaierror: "no such name is known to this machine",
    ConnectionRefusedError: "nothing listens on that port",
    TimeoutError: "no answer in time; a firewall?",
}


def check(settings: Settings, sop_class_uids: tuple[str, ...]) -> list[str]:
    """Say whether a connection can be opened; MLLP has no question that does not send a message."""
    try:
        with _connection(settings):
            pass
    except PeerError as error:
        return [str(error)]
    except OSError as error:
        why = next((words for kind, words in _WHY.items() if isinstance(error, kind)), type(error).__name__)
        return [f"{settings.host}:{settings.port} cannot be reached: {why}."]
    return []


def describe(settings: Settings) -> str:
    """Say where this goes."""
    return f"HL7 v2.5.1 over MLLP{' and TLS' if settings.tls else ''} to {settings.host}:{settings.port}."


def _connection(settings: Settings) -> socket.socket:
    connection = socket.create_connection((settings.host, settings.port), timeout=settings.timeout_seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.tls is None:
        return connection
    try:
        return current_context(settings.tls).wrap_socket(connection, server_hostname=settings.tls.server_name)
    except OSError as error:
        raise tls_failure(error, whose="The receiver") from error
    finally:
        connection.close()  # the encrypted one has taken the socket over; one that failed is closed here


def _read_block(connection: socket.socket, deadline: float) -> bytes:
    """Return what lies between the frame bytes; an answer that trickles in counts against one deadline."""
    held = b""
    while END not in held:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError
        held += piece
        if len(held) > _LONGEST_ACKNOWLEDGEMENT:
            raise PeerError("The acknowledgement does not end.")
    return held[: held.index(END)].rpartition(START)[2]
