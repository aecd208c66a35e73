"""The P-DATA of one association, walked in place: C-STORE objects go to their files, everything else to whoever speaks DIMSE.

No PDU or PDV becomes an object in memory; of a data set there is never more here than what the window of the stream holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from dicom_node.reception.byte_stream import ByteStream
from dicom_node.reception.wire import (
    IS_COMMAND,
    IS_LAST,
    P_DATA_TF,
    StoreRequest,
    announces_data_set,
    parse_command,
    pdu_header,
    pdv_header,
    store_answer,
    store_request,
)

#: A command set is a few hundred bytes.
MAX_COMMAND_BYTES = 64 * 1024
#: Slices handed on at once; a sender of one-byte fragments fills lists, not disks.
MAX_SLICES = 512
#: Data sets of other services (storage commitment) are held in memory by the library.
MAX_OTHER_DATA_BYTES = 16 << 20


class Malformed(Exception):
    """What came is no P-DATA as PS3.8, 9.3.5 and PS3.7, 6.3.1 have it; the message says what, for the log."""


class StorageContext(NamedTuple):
    """A presentation context under which objects are taken."""

    sop_class_uid: str
    transfer_syntax_uid: str


class Receiving(Protocol):
    """One object on its way. Nothing here raises for the object's sake: what goes wrong with it is its answer."""

    def write(self, slices: list[memoryview]) -> None:
        """Take bytes of the data set.

        Raises
        ------
        Malformed
            There is no end of it.
        """

    def finish(self) -> tuple[int, str]:
        """Keep the object; return the DIMSE status and the Error Comment."""

    def discard(self) -> None:
        """The rest will not come: leave nothing behind."""


class Begin(Protocol):
    """Begins an object."""

    def __call__(self, request: StoreRequest, context: StorageContext) -> Receiving: ...


class Forward(Protocol):
    """Takes a fragment of any other message: context id, message control header, bytes."""

    def __call__(self, context_id: int, control: int, fragment: bytes) -> None: ...


class PDataReader:
    """Reads the P-DATA-TF PDUs of one association."""

    def __init__(self, stream: ByteStream, contexts: Mapping[int, StorageContext | None], begin: Begin, forward: Forward) -> None:
        """Read from a stream.

        Parameters
        ----------
        contexts
            Accepted presentation contexts by id; ``None`` for those under which no object is taken.
        """
        self._stream = stream
        self._contexts = contexts
        self._begin = begin
        self._forward = forward
        self._command = bytearray()
        self._command_context = 0
        self._object: Receiving | None = None
        self._request: StoreRequest | None = None
        self._slices: list[memoryview] = []
        self._other_bytes = 0
        self._data_set_due = False  # of a message that is not ours

    @property
    def at_rest(self) -> bool:
        """Whether no message is under way here."""
        return self._object is None and not self._command and not self._data_set_due

    def read(self) -> None:
        """Read P-DATA as long as there is some and a message is under way; the next PDU is one.

        Raises
        ------
        Malformed, Closed, Stalled, Interrupted
            The object that was under way is gone; nothing of it is left.
        """
        stream = self._stream
        try:
            while True:
                self._fill(6)
                kind, length = pdu_header.unpack_from(stream.buffer, stream.position)
                if kind != P_DATA_TF:
                    if self._object is not None and kind not in (5, 7):
                        raise Malformed("another PDU in the middle of an object")
                    self.discard()
                    return
                stream.position += 6
                self._pdu(length)
                if self.at_rest and not stream.buffered:
                    return
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Forget the object that is under way."""
        self._slices.clear()
        self._data_set_due = False
        if self._object is not None:
            gone, self._object = self._object, None
            gone.discard()

    def _pdu(self, left: int) -> None:
        stream = self._stream
        while left:
            if left < 6:
                raise Malformed("a PDU ends inside the head of a PDV")
            self._fill(6)
            length, context_id, control = pdv_header.unpack_from(stream.buffer, stream.position)
            if length < 2 or length + 4 > left:
                raise Malformed("a PDV is longer than its PDU")
            stream.position += 6
            left -= length + 4
            if control & IS_COMMAND:
                self._command_fragment(context_id, control, length - 2)
            elif self._object is not None:
                self._object_fragment(context_id, control, length - 2)
            else:
                self._other_fragment(context_id, control, length - 2)

    def _command_fragment(self, context_id: int, control: int, left: int) -> None:
        if self._object is not None:
            raise Malformed("a command in the middle of an object")
        if self._command and context_id != self._command_context:
            raise Malformed("a command in two presentation contexts")
        if len(self._command) + left > MAX_COMMAND_BYTES:
            raise Malformed("a command without end")
        if context_id not in self._contexts:
            raise Malformed("a command in a presentation context that was not accepted")
        self._command_context = context_id
        self._command += self._bytes(left)
        if control & IS_LAST:
            command, self._command = bytes(self._command), bytearray()
            self._whole_command(context_id, command)

    def _whole_command(self, context_id: int, command: bytes) -> None:
        try:
            elements = parse_command(command)
            request = store_request(elements)
        except ValueError as error:
            raise Malformed(str(error)) from error
        context = self._contexts[context_id]
        self._other_bytes = 0
        if request is None or context is None:
            self._data_set_due = announces_data_set(elements)
            self._forward(context_id, IS_COMMAND | IS_LAST, command)
            return
        self._request = request
        self._object = self._begin(request, context)

    def _object_fragment(self, context_id: int, control: int, left: int) -> None:
        stream, slices = self._stream, self._slices
        if context_id != self._command_context:
            raise Malformed("a data set in another presentation context than its command")
        while left:
            if not stream.buffered:
                self._fill(1)
            if len(slices) >= MAX_SLICES:
                self._hand_over()
            count = min(left, stream.buffered)
            slices.append(stream.view[stream.position : stream.position + count])
            stream.position += count
            left -= count
        if control & IS_LAST:
            self._end_object(context_id)

    def _end_object(self, context_id: int) -> None:
        assert self._object is not None, "asked only in the middle of an object"
        assert self._request is not None, "it began the object"
        self._hand_over()
        status, comment = self._object.finish()
        self._object = None
        self._stream.send(store_answer(context_id, self._request, status, comment))

    def _other_fragment(self, context_id: int, control: int, left: int) -> None:
        self._other_bytes += left
        if self._other_bytes > MAX_OTHER_DATA_BYTES:
            raise Malformed("a data set without end, of no object")
        if context_id not in self._contexts:
            raise Malformed("a data set in a presentation context that was not accepted")
        self._forward(context_id, control, self._bytes(left))
        if control & IS_LAST:
            self._data_set_due = False

    def _bytes(self, count: int) -> bytes:
        """Take so many bytes out of the stream, which may be more than its window holds."""
        stream = self._stream
        taken = bytearray()
        while len(taken) < count:
            if not stream.buffered:
                stream.fill()
            more = min(count - len(taken), stream.buffered)
            taken += stream.view[stream.position : stream.position + more]
            stream.position += more
        return bytes(taken)

    def _fill(self, count: int) -> None:
        """Read more, after what is here was handed on: the window's memory is used again."""
        while self._stream.buffered < count:
            self._hand_over()
            self._stream.fill()

    def _hand_over(self) -> None:
        if self._slices:
            assert self._object is not None, "slices belong to an object"
            self._object.write(self._slices)
            self._slices.clear()
