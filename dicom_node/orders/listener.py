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
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hl7.mllp import start_hl7_server

from dicom_node import log
from dicom_node.core.errors import TlsFailure
from dicom_node.network.tls import ReloadingContext
from dicom_node.network.tls_words import tls_failure
from dicom_node.orders.acknowledgement import acknowledge
from dicom_node.orders.settings import ListenerSettings

_START, _END = b"\x0b", b"\x1c\r"
_BLANK = b" \t\r\n"  # some senders end a frame with a line feed more
_HANDSHAKE_SECONDS = 10.0
_START_SECONDS = 30.0
_AGAIN_SECONDS = 10.0
_LAST_ANSWER_SECONDS = 10.0
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


@dataclass
class _Caller:
    """One connection: since when nothing is under way on it (``None``: a message is)."""

    address: str
    idle_since: float | None


class Listener:
    """A port that takes HL7 messages. ``take`` gets the bytes of one message and returns its acknowledgement, if any.

    A port or certificate that cannot be used is told in the log and tried again: storing images does not depend on it.
    """

    def __init__(self, settings: ListenerSettings, take: Callable[[bytes], bytes | None]) -> None:
        self.port = settings.port
        self._settings = settings
        self._take = take
        self._contexts = ReloadingContext(settings.tls) if settings.tls else None
        self._networks = [ipaddress.ip_network(peer) for peer in settings.peers]
        self._callers: dict[asyncio.Task[Any], _Caller] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="orders")
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders-listener", daemon=True)

    def start(self) -> Listener:
        """Open the port, and return when it is open or could not be opened for now."""
        self._thread.start()
        self._tried.wait(_START_SECONDS)
        return self

    def stop(self) -> None:
        """Close the port; a message that is being taken is still answered."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(2 * _LAST_ANSWER_SECONDS)
        self._worker.shutdown(wait=True)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._keep_serving())
        finally:
            self._loop.close()

    async def _keep_serving(self) -> None:
        while not self._stop.is_set():
            try:
                await self._serve()
            except Exception as error:  # the port is taken, a certificate cannot be used, or a defect: try again
                why = str(error) if isinstance(error, TlsFailure) else getattr(error, "strerror", None) or type(error).__name__
                log.event("orders.not_listening", port=self._settings.port, reason=why)
                self._tried.set()
                await self._stopped_within(_AGAIN_SECONDS)
        await self._see_off()

    async def _stopped_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _serve(self) -> None:
        """Listen until told to stop. Renewed certificates get a second acceptor on the same socket before the first one goes."""
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        server: Any = None
        context = self._contexts.current() if self._contexts else None
        with socket.create_server((settings.host, settings.port), family=family) as port:
            try:
                server = await self._accept(port.dup(), context)
                self.port = port.getsockname()[1]
                log.event("orders.listening", port=self.port, kind="tls" if context else "plain")
                self._tried.set()
                while not self._stop.is_set():
                    await self._stopped_within(_RENEWAL_SECONDS)
                    fresh = self._contexts.current() if self._contexts else None
                    if fresh is not context:
                        old, server, context = server, await self._accept(port.dup(), fresh), fresh
                        old.close()
            finally:
                if server is not None:
                    server.close()

    async def _accept(self, port: socket.socket, context: ssl.SSLContext | None) -> Any:
        secure: dict[str, Any] = {}
        if context is not None:
            context.sslobject_class = _ToldHandshake
            secure = {"ssl": context, "ssl_handshake_timeout": _HANDSHAKE_SECONDS}
        return await start_hl7_server(self._connected, sock=port, limit=self._settings.max_message_bytes, **secure)

    async def _see_off(self) -> None:
        """Close what is idle, and let what is under way be answered first."""
        for task, caller in list(self._callers.items()):
            if caller.idle_since is not None:
                task.cancel()
        if self._callers:
            _, late = await asyncio.wait(list(self._callers), timeout=_LAST_ANSWER_SECONDS)
            for task in late:
                task.cancel()

    def _connected(self, reader: Any, writer: Any) -> None:
        """Admit a connection, or close it at once. Where there is no place, the one that was silent longest makes room."""
        address = str((writer.get_extra_info("peername") or ("",))[0]).partition("%")[0].removeprefix("::ffff:")
        if not self._may_connect(address):
            log.event("orders.peer_refused", address=address, reason="not among orders.listener.peers")
            writer.close()
            return
        if len(self._callers) >= self._settings.max_connections and not self._make_room():
            log.event("orders.peer_refused", address=address, reason="too many connections")
            writer.close()
            return
        caller = _Caller(address, time.monotonic())
        task = self._loop.create_task(self._converse(reader, writer, caller))
        self._callers[task] = caller
        task.add_done_callback(lambda done: self._gone(done, writer))

    def _gone(self, task: asyncio.Task[Any], writer: Any) -> None:
        self._callers.pop(task, None)
        writer.close()  # a task that was cancelled before its first step has closed nothing

    def _make_room(self) -> bool:
        """Some senders open a connection for each message and never close one."""
        idle = {task: caller for task, caller in self._callers.items() if caller.idle_since is not None}
        if not idle:
            return False
        task = min(idle, key=lambda one: idle[one].idle_since or 0.0)
        log.event("orders.connection_closed", address=idle[task].address, reason="silent for long, and no place is left")
        del self._callers[task]
        task.cancel()
        return True

    def _may_connect(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._networks)

    async def _converse(self, reader: Any, writer: Any, caller: _Caller) -> None:
        """Take message after message until the peer goes, or breaks the rules."""
        try:
            while not self._stop.is_set():
                frame = await self._frame(reader, caller)
                answer = await self._loop.run_in_executor(self._worker, self._take, frame)
                if answer is not None:
                    writer.writeblock(answer)
                    await asyncio.wait_for(writer.drain(), self._settings.frame_seconds)
                caller.idle_since = time.monotonic()
        except _Unframed as error:
            log.event("orders.connection_closed", address=caller.address, reason=str(error))
            with contextlib.suppress(OSError, TimeoutError):
                writer.writeblock(acknowledge(None, "AR", str(error), "100"))
                await asyncio.wait_for(writer.drain(), 1)
        except asyncio.IncompleteReadError as error:
            if caller.idle_since is None or error.partial.strip(_BLANK):
                log.event("orders.connection_closed", address=caller.address, reason="the peer went in the middle of a message")
        except (TimeoutError, OSError) as error:
            log.event("orders.connection_closed", address=caller.address, reason=type(error).__name__)
        except Exception as error:  # a defect: the message stays with its sender, who was not answered
            log.event("orders.connection_closed", address=caller.address, error=type(error).__name__)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 5)

    async def _frame(self, reader: Any, caller: _Caller) -> bytes:
        """Return what lies between the marks of the next frame; what a sender gave up in the middle of is dropped."""
        settings = self._settings
        try:
            before = await asyncio.wait_for(reader.readuntil(_START), settings.idle_seconds)
            if before[:-1].strip(_BLANK):
                raise _Unframed("Something else stands before the start of the frame.")
            caller.idle_since = None
            block = await asyncio.wait_for(reader.readuntil(_END), settings.frame_seconds)
        except asyncio.LimitOverrunError:
            raise _Unframed(f"The message is longer than {settings.max_message_bytes} bytes.") from None
        return bytes(block[: -len(_END)].rpartition(_START)[2])
