"""The MLLP port (MLLP release 1): frames in, acknowledgements out. A thread with a loop of its own, beside the storage SCP.

Messages are taken one after the other, in the order of arrival, off the loop: a database that is slow makes senders wait, and the
port stays open. Whatever a peer does (junk, half frames, huge messages, silence, many connections) costs it its connection only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from hl7.mllp import start_hl7_server

from dicom_node import log
from dicom_node.core.errors import StoreError
from dicom_node.network.tls import ReloadingContext
from dicom_node.network.tls_words import tls_failure
from dicom_node.orders.acknowledgement import acknowledge
from dicom_node.orders.settings import ListenerSettings

_START, _END = b"\x0b", b"\x1c\r"
_BLANK = b" \t\r\n"  # some senders end a frame with a line feed more
_HANDSHAKE_SECONDS = 10.0
_START_SECONDS = 30.0
_RENEWAL_SECONDS = 5.0


class _Unframed(Exception):
    """What came is no frame; the words are told to the peer."""


class _ToldHandshake(ssl.SSLObject):
    """Logs why TLS did not come about; asyncio itself closes such a connection without a word."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            log.event("tls.refused", room="orders", reason=str(tls_failure(error, whose="The caller")))
            raise


class Listener:
    """A port that takes HL7 messages. ``take`` gets the bytes of one message and returns its acknowledgement, if any."""

    def __init__(self, settings: ListenerSettings, take: Callable[[bytes], bytes | None]) -> None:
        self.port = settings.port
        self._settings = settings
        self._take = take
        self._contexts = ReloadingContext(settings.tls) if settings.tls else None
        self._networks = [ipaddress.ip_network(peer) for peer in settings.peers]
        self._connections: set[asyncio.Task[Any]] = set()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="orders")
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="orders-listener", daemon=True)
        self._ready: Future[int] = Future()

    def start(self) -> Listener:
        """Open the port.

        Raises
        ------
        StoreError
            The port cannot be opened.
        TlsFailure
            The certificate, key or authority cannot be used.
        """
        self._thread.start()
        try:
            self.port = self._ready.result(_START_SECONDS)
        except OSError as error:
            raise StoreError(
                f"the HL7 port {self._settings.host}:{self._settings.port} cannot be opened: {error.strerror}"
            ) from error
        log.event("orders.listening", port=self.port)
        return self

    def stop(self) -> None:
        """Close the port; a message that is being taken is still answered."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(15)
        self._worker.shutdown(wait=True)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # a thread has nobody above it: who waits in ``start`` is told, else the log
            if self._ready.done():
                log.event("orders.stopped", error=type(error).__name__)
            else:
                self._ready.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        """Listen until told to stop. Renewed certificates get a second acceptor on the same socket before the first one goes."""
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.create_server((settings.host, settings.port), family=family) as port:
            server, context = None, None
            try:
                while not self._stop.is_set():
                    fresh = self._contexts.current() if self._contexts else None
                    if server is None or fresh is not context:
                        old, server, context = server, await self._accept(port.dup(), fresh), fresh
                        if old is not None:
                            old.close()
                        if not self._ready.done():
                            self._ready.set_result(port.getsockname()[1])
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), _RENEWAL_SECONDS)
            finally:
                if server is not None:
                    server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, port: socket.socket, context: ssl.SSLContext | None) -> Any:
        secure: dict[str, Any] = {}
        if context is not None:
            context.sslobject_class = _ToldHandshake
            secure = {"ssl": context, "ssl_handshake_timeout": _HANDSHAKE_SECONDS}
        return await start_hl7_server(self._connected, sock=port, limit=self._settings.max_message_bytes, **secure)

    def _connected(self, reader: Any, writer: Any) -> None:
        """Admit a connection or close it at once."""
        address = str((writer.get_extra_info("peername") or ("",))[0]).partition("%")[0].removeprefix("::ffff:")
        why = ""
        if not self._may_connect(address):
            why = "not among orders.listener.peers"
        elif len(self._connections) >= self._settings.max_connections:
            why = "too many connections"
        if why:
            log.event("orders.peer_refused", address=address, reason=why)
            writer.close()
            return
        task = self._loop.create_task(self._converse(reader, writer, address))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _may_connect(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._networks)

    async def _converse(self, reader: Any, writer: Any, address: str) -> None:
        """Take message after message until the peer goes, or breaks the rules."""
        try:
            while True:
                frame = await self._frame(reader)
                answer = await asyncio.shield(self._loop.run_in_executor(self._worker, self._take, frame))
                if answer is not None:
                    writer.writeblock(answer)
                    await asyncio.wait_for(writer.drain(), self._settings.frame_seconds)
        except _Unframed as error:
            log.event("orders.connection_closed", address=address, reason=str(error))
            with contextlib.suppress(OSError, TimeoutError):
                writer.writeblock(acknowledge(None, "AR", str(error), "100"))
                await asyncio.wait_for(writer.drain(), 1)
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            partial = getattr(error, "partial", b"")
            if partial.strip(_BLANK) or not isinstance(error, asyncio.IncompleteReadError):
                log.event("orders.connection_closed", address=address, reason=type(error).__name__)
        except Exception as error:  # a defect: the message stays with its sender, who was not answered
            log.event("orders.connection_closed", address=address, error=type(error).__name__)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 5)

    async def _frame(self, reader: Any) -> bytes:
        """Return what lies between the marks of the next frame; what a sender gave up in the middle of is dropped."""
        settings = self._settings
        try:
            before = await asyncio.wait_for(reader.readuntil(_START), settings.idle_seconds)
            if before[:-1].strip(_BLANK):
                raise _Unframed("Something else stands before the start of the frame.")
            block = await asyncio.wait_for(reader.readuntil(_END), settings.frame_seconds)
        except asyncio.LimitOverrunError:
            raise _Unframed(f"The message is longer than {settings.max_message_bytes} bytes.") from None
        return bytes(block[: -len(_END)].rpartition(_START)[2])
