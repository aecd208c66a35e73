"""The bytes of a C-STORE on the wire: command sets (PS3.7, 6.3.1 and E.1) and the PDU of an answer (PS3.8, 9.3.5). Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

P_DATA_TF = 0x04
NO_DATA_SET = 0x0101  # Command Data Set Type (0000,0800)
C_STORE_RQ = 0x0001
_C_STORE_RSP = 0x8001
#: Message Control Header (PS3.8, E.2): bit 0 says command, bit 1 says last fragment.
IS_COMMAND, IS_LAST = 1, 2

pdu_header = struct.Struct(">BxI")  # type, length of what follows
pdv_header = struct.Struct(">IBB")  # length of what follows, context id, message control header
_element = struct.Struct("<HHI")  # group, element, length: command sets are implicit VR little endian

_SOP_CLASS, _FIELD, _MESSAGE_ID, _ANSWERED_ID = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _COMMENT, _SOP_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000


class StoreRequest(NamedTuple):
    """What a C-STORE-RQ says (PS3.7, 9.3.1.1)."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


def parse_command(data: bytes) -> dict[int, bytes]:
    """Return the elements of group 0000 by their number, values as they came.

    Raises
    ------
    ValueError
        An element is longer than what is left, or of another group.
    """
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("a command set ends inside an element")
        group, element, length = _element.unpack_from(data, position)
        position += 8
        if group or position + length > len(data):
            raise ValueError("a command set is damaged")
        found[element] = bytes(data[position : position + length])
        position += length
    return found


def store_request(command: dict[int, bytes]) -> StoreRequest | None:
    """Return the request if the command is a C-STORE-RQ that a data set follows, and ``None`` if it is anything else."""
    if _number(command, _FIELD) != C_STORE_RQ or _number(command, _DATA_SET_TYPE, NO_DATA_SET) == NO_DATA_SET:
        return None
    if len(command.get(_MESSAGE_ID, b"")) != 2:
        return None
    return StoreRequest(_number(command, _MESSAGE_ID), _text(command, _SOP_CLASS), _text(command, _SOP_INSTANCE))


def announces_data_set(command: dict[int, bytes]) -> bool:
    """Say whether a data set follows the command (PS3.7, E.1: any Command Data Set Type but 0101H)."""
    return _number(command, _DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET


def store_answer(context_id: int, request: StoreRequest, status: int, comment: str = "") -> bytes:
    """Return a P-DATA-TF PDU with the C-STORE-RSP; ``comment`` becomes the Error Comment (0000,0902)."""
    elements = [
        (_SOP_CLASS, _even(request.sop_class_uid.encode("latin-1", "replace"), b"\0")),
        (_FIELD, struct.pack("<H", _C_STORE_RSP)),
        (_ANSWERED_ID, struct.pack("<H", request.message_id)),
        (_DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
        (_STATUS, struct.pack("<H", status)),
        *([(_COMMENT, _even(comment.encode("ascii", "replace"), b" "))] if comment else []),
        (_SOP_INSTANCE, _even(request.sop_instance_uid.encode("latin-1", "replace"), b"\0")),
    ]
    body = b"".join(_element.pack(0, element, len(value)) + value for element, value in elements)
    command = _element.pack(0, 0, 4) + struct.pack("<I", len(body)) + body
    return (
        pdu_header.pack(P_DATA_TF, len(command) + pdv_header.size)
        + pdv_header.pack(len(command) + 2, context_id, IS_COMMAND | IS_LAST)
        + command
    )


def _number(command: dict[int, bytes], element: int, default: int = -1) -> int:
    value = command.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else default


def _text(command: dict[int, bytes], element: int) -> str:
    return command.get(element, b"").rstrip(b"\0 ").decode("latin-1")


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
