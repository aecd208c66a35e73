"""Runs a pipeline in a child process: a crash of a decoder or of the GPU library is an exception here, and a time limit holds."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import models.bundle
from dicom_node.core.errors import BundleError, NodeError, PipelineError, StoreError, StudyError
from dicom_node.core.findings import Abstention, Findings
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from dicom_node.inference.findings_store import save_findings
from dicom_node.plugins import load_kind


@dataclass(frozen=True)
class PipelineJob:
    """What the child needs. ``settings`` are the pipeline's own, as plain values; ``folder`` receives the findings."""

    pipeline: str
    study: Study
    selection: Selection
    bundles: Mapping[str, Path]
    policy: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_pipeline(job: PipelineJob) -> Findings:
    """Run the pipeline here and now, in this process (``dicom-node analyze`` and the child do).

    What the images do not allow becomes an abstention.

    Raises
    ------
    BundleError
        A bundle is damaged or has no such policy.
    """
    pipeline = load_kind("pipeline", job.pipeline)
    if not job.selection.read:
        abstention = Abstention(job.selection.refusal or "no_image", job.selection.detail)
        return Findings(pipeline=job.pipeline, not_read=job.selection.not_read, abstention=abstention)
    settings = pipeline.Settings(**job.settings)
    try:
        found: Findings = pipeline.run(job.study, job.selection, job.bundles, job.policy, settings)
    except StudyError as error:
        return Findings(pipeline=job.pipeline, not_read=job.selection.not_read, abstention=Abstention(error.code, str(error)))
    except models.bundle.BundleError as error:  # the models package stands alone and has its own
        raise BundleError(str(error)) from error
    return found


class PipelineProcess:
    """One child process that runs one job at a time and keeps its networks warm between jobs."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")  # fork would copy open sockets and locks
        self._turn = threading.Lock()
        self._child: Any = None
        self._line: Connection | None = None
        self._closed = False

    def run(self, job: PipelineJob, timeout_seconds: float) -> None:
        """Run one job; its findings lie in ``job.folder`` afterwards.

        Raises
        ------
        BundleError
            As the child said.
        PipelineError
            The child died, failed in a way nobody foresaw, or ran out of time. It is started afresh for the next job.
        StoreError
            The node is stopping, or the disk did not take the findings: nothing is said about the images, try again later.
        """
        with self._turn:
            if self._closed:
                raise StoreError("the node is stopping")
            line = self._started()
            try:
                line.send(job)
                if not line.poll(timeout_seconds):
                    raise PipelineError(f"pipeline {job.pipeline} took longer than {timeout_seconds:g} s and was stopped")
                answer = line.recv()
            except PipelineError:
                self._kill()
                raise
            except (EOFError, OSError) as error:
                self._kill()
                if self._closed:
                    raise StoreError("the node is stopping") from error
                raise PipelineError(f"the process that ran pipeline {job.pipeline} died") from error
        kind, text = answer
        if kind == "bundle":
            raise BundleError(text)
        if kind == "disk":
            raise StoreError(f"the findings cannot be written ({text})")
        if kind == "failed":
            raise PipelineError(f"pipeline {job.pipeline} failed: {text}")

    def warm(self, pipelines: tuple[str, ...]) -> None:
        """Start the child and let it import these pipelines, so that the first study does not wait for it. Returns at once."""
        with self._turn:
            self._started().send(pipelines)

    def _started(self) -> Connection:
        if self._line is None or not self._child.is_alive():
            self._kill()
            here, there = self._context.Pipe()
            self._child = self._context.Process(target=_serve, args=(there,), daemon=True, name="pipeline")
            self._child.start()
            there.close()
            self._line = here
        return self._line

    def _kill(self) -> None:
        child, line = self._child, self._line
        self._child = self._line = None
        if child is not None:
            child.kill()
            child.join()
        if line is not None:
            line.close()

    def close(self) -> None:
        """End the child, also in the middle of a job; no other is started."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()  # a run that waits for it notices, and lets go of its turn
        with self._turn:
            self._kill()


def _serve(line: Connection) -> None:
    """The child's loop. One broad ``except``: this is the worker, and what it catches becomes a coded refusal, never silence."""
    while True:
        try:
            job: PipelineJob | tuple[str, ...] = line.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if isinstance(job, tuple):
            for name in job:
                load_kind("pipeline", name)
            continue
        try:
            found = run_pipeline(job)
            try:
                save_findings(job.folder, found)
            except OSError as error:  # a full disk is no fault of the images
                line.send(("disk", type(error).__name__))
                continue
            line.send(("done", ""))
        except BundleError as error:
            line.send(("bundle", str(error)))
        except NodeError as error:
            line.send(("failed", str(error)))
        except Exception as error:
            # the type only: a library's message may quote the header
            line.send(("failed", f"{type(error).__name__} in {_place(error)}"))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
