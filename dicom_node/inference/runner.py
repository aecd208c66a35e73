"""Runs pipelines in a child process: a crash of a decoder or of the GPU library is an exception here, and a time limit holds."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from typing import Any

from dicom_node.core.errors import BundleError, DeviceError, PipelineError, StoreError
from dicom_node.inference.child import Answer, PipelineJob, WarmUp, run_pipeline, serve

__all__ = ["PipelineJob", "PipelineProcess", "WarmUp", "run_pipeline"]

#: A GPU that could not be used is asked for again after this time.
_DEVICE_SECONDS = 30.0


class _Died(Exception):
    """The child died with a job in it; ``alone``: no other job could have been the cause."""

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone = alone


class PipelineProcess:
    """One child process that runs up to ``concurrency`` jobs at once and keeps its networks warm between jobs.

    When the child dies with several jobs in it, each of them is run again alone: none is blamed for another's crash.
    """

    def __init__(self, concurrency: int = 1) -> None:
        self._context = multiprocessing.get_context("spawn")  # fork would copy open sockets and locks
        self._concurrency = concurrency
        self._changed = threading.Condition()
        self._inside = 0
        self._reserved = False  # a job runs alone, or waits for the others to end
        self._child: _Child | None = None
        self._closed = False
        self._warm_up: WarmUp | None = None
        self._device_problem = ""
        self._asked_device = 0.0

    @property
    def device_problem(self) -> str:
        """Why the device that was asked for cannot be used, in a sentence; ``""`` when it can or nobody knows yet."""
        return self._device_problem

    def run(self, job: PipelineJob, timeout_seconds: float) -> float:
        """Run one job; its findings lie in ``job.folder`` afterwards. Returns the seconds spent within networks.

        Raises
        ------
        BundleError
            As the child said.
        DeviceError
            The GPU that was asked for cannot be used: the run waits, nothing runs on the CPU instead.
        PipelineError
            The child died, failed in a way nobody foresaw, or ran out of time. It is started afresh for the next job.
        StoreError
            The node is stopping, or the disk did not take the findings: nothing is said about the images, try again later.
        """
        if self._device_problem and time.monotonic() - self._asked_device < _DEVICE_SECONDS:
            raise DeviceError(self._device_problem)
        try:
            answer = self._ask(job, timeout_seconds, alone=False)
        except _Died as death:
            if death.alone:
                raise PipelineError(f"the process that ran pipeline {job.pipeline} died") from death
            try:
                answer = self._ask(job, timeout_seconds, alone=True)
            except _Died as again:
                raise PipelineError(f"the process that ran pipeline {job.pipeline} died") from again
        if answer.kind == "bundle":
            raise BundleError(answer.text)
        if answer.kind == "device":
            self._note_device(answer.text)
            raise DeviceError(answer.text)
        if answer.kind == "disk":
            raise StoreError(f"the findings cannot be written ({answer.text})")
        if answer.kind == "failed":
            raise PipelineError(f"pipeline {job.pipeline} failed: {answer.text}")
        self._device_problem = ""
        return answer.model_seconds

    def warm(self, wanted: WarmUp, told: Callable[[Answer], None]) -> None:
        """Start the child and let it load pipelines and networks, so that the first study does not wait for it. Returns at once.

        ``told`` is called with the answer, in another thread: the device in use, or why the one asked for is not.
        """
        self._warm_up = wanted

        def heard(future: Future[Answer]) -> None:
            if future.exception() is None:
                answer = future.result()
                if answer.kind == "device":
                    self._note_device(answer.text)
                told(answer)

        with self._changed:
            self._started().send(wanted).add_done_callback(heard)

    def _note_device(self, problem: str) -> None:
        self._device_problem = problem
        self._asked_device = time.monotonic()

    def _ask(self, job: PipelineJob, timeout_seconds: float, *, alone: bool) -> Answer:
        with self._changed:
            while self._full(alone):
                self._changed.wait()
            if alone:
                self._reserved = True
                while self._inside:
                    self._changed.wait()
            if self._closed:
                self._reserved = self._reserved and not alone
                raise StoreError("the node is stopping")
            self._inside += 1
            try:
                child = self._started()
                future = child.send(job)
            except BaseException:  # no memory for a process, say: the place is free again, or no run would ever have one
                self._leave(alone)
                raise
        try:
            return future.result(timeout_seconds)
        except TimeoutError:
            child.kill()
            raise PipelineError(f"pipeline {job.pipeline} took longer than {timeout_seconds:g} s and was stopped") from None
        except _Died:
            if self._closed:
                raise StoreError("the node is stopping") from None
            raise
        finally:
            self._leave(alone)

    def _leave(self, alone: bool) -> None:
        with self._changed:
            self._inside -= 1
            if alone:
                self._reserved = False
            self._changed.notify_all()

    def _full(self, alone: bool) -> bool:
        if self._closed:
            return False
        return self._reserved or (not alone and self._inside >= self._concurrency)

    def _started(self) -> _Child:
        if self._child is None or not self._child.living:
            self._child = _Child(self._context, self._concurrency)
        return self._child

    def close(self) -> None:
        """End the child, also in the middle of a job; no other is started."""
        with self._changed:
            self._closed = True
            child, self._child = self._child, None
            self._changed.notify_all()
        if child is not None:
            child.kill()  # runs that wait for it notice


class _Child:
    """The process, the line to it, and who waits for which answer."""

    def __init__(self, context: Any, concurrency: int) -> None:
        self._line: Connection
        self._line, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there, concurrency), daemon=True, name="pipeline")
        self._process.start()
        there.close()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Answer]] = {}
        self._jobs: set[int] = set()
        self._number = 0
        self.living = True
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="pipeline jobs", daemon=True)
        self._writer.start()
        threading.Thread(target=self._listen, name="pipeline answers", daemon=True).start()

    def send(self, job: PipelineJob | WarmUp) -> Future[Answer]:
        """Hand over a job, without waiting for the child to take it; the future gets its answer, or ``_Died``."""
        future: Future[Answer] = Future()
        with self._lock:
            self._number += 1
            packed = ForkingPickler.dumps((self._number, job))  # what cannot be packed is the caller's defect, not this child's
            if not self.living:  # it died a moment ago
                future.set_exception(_Died(alone=False))
                return future
            if isinstance(job, PipelineJob):
                self._jobs.add(self._number)
            self._waiting[self._number] = future
            self._outbox.put(packed)
        return future

    def _write(self) -> None:
        """Write apart: a child that reads nothing any more must not hold up whoever keeps the time limit."""
        while (packed := self._outbox.get()) is not None:
            try:
                self._line.send_bytes(packed)
            except OSError:  # it is gone; the listener tells everybody
                return

    def kill(self) -> None:
        """End it at once; whoever waits is told."""
        self.living = False
        self._process.kill()

    def _listen(self) -> None:
        while True:
            try:
                answer: Answer = self._line.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                future = self._waiting.pop(answer.number, None)
                self._jobs.discard(answer.number)
            if future is not None:
                future.set_result(answer)
        with self._lock:
            self.living = False
            waiting, alone = list(self._waiting.values()), len(self._jobs) <= 1
            self._waiting.clear()
        self._process.kill()
        self._process.join()
        self._outbox.put(None)
        self._writer.join()
        self._line.close()
        for future in waiting:
            future.set_exception(_Died(alone))
