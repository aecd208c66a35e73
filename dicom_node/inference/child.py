"""The child process in which pipelines run: takes jobs from a line, answers with what became of them.

Several jobs at once run in threads and share each network; their forward passes are then put together (``engine.batcher``).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import models.bundle
from dicom_node.core.errors import BundleError, NodeError, StudyError
from dicom_node.core.findings import Abstention, Findings
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from dicom_node.engine.process import keep_what_is_loaded
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


@dataclass(frozen=True)
class WarmUp:
    """What the child loads before the first study: pipelines by name, each with its bundles and settings."""

    pipelines: Mapping[str, tuple[Mapping[str, Path], Mapping[str, Any]]]


@dataclass(frozen=True)
class Answer:
    """What became of a job. ``kind``: done, warm, bundle, device, disk or failed; ``text``: why, or the device in use."""

    number: int
    kind: str
    text: str = ""
    model_seconds: float = 0.0  # within networks


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
        if _is_device(error):
            raise
        raise BundleError(str(error)) from error
    return found


def serve(line: Connection, concurrency: int) -> None:
    """The child's loop: ends when the parent closes the line."""
    speaking = threading.Lock()
    jobs = _Jobs(concurrency)

    def work(number: int, job: PipelineJob | WarmUp) -> None:
        with jobs:
            answer = _warm(number, job) if isinstance(job, WarmUp) else _run(number, job)
        with speaking:
            line.send(answer)

    if concurrency > 1:
        _share_networks(jobs, concurrency)
    with ThreadPoolExecutor(concurrency) as pool:
        while True:
            try:
                number, job = line.recv()
            except (EOFError, KeyboardInterrupt):
                return
            if concurrency > 1:
                pool.submit(work, number, job)
            else:
                work(number, job)  # in the main thread, where libraries like it best


class _Jobs:
    """Counts the jobs that are running."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.running = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.running -= 1


def _share_networks(jobs: _Jobs, most: int) -> None:
    """Have forward passes that come at the same time run as one."""
    from dicom_node.engine.batcher import Batcher

    session = importlib.import_module("models.session")

    def together(run_many: Any) -> Any:
        return Batcher(run_many, most=most, expected=lambda: jobs.running)

    session.put_together(together)


def _warm(number: int, wanted: WarmUp) -> Answer:
    """Import the pipelines and load their networks; what cannot be loaded is told when a study needs it, a missing GPU now."""
    devices: set[str] = set()
    for name, (bundles, settings) in wanted.pipelines.items():
        try:
            pipeline = load_kind("pipeline", name)
            if hasattr(pipeline, "warm") and bundles:
                devices |= {str(d) for d in pipeline.warm(bundles, pipeline.Settings(**settings))}
        except models.bundle.BundleError as error:
            if _is_device(error):
                return Answer(number, "device", str(error))
        except Exception as error:  # broad on purpose: the first study of this pipeline says it, with a coded refusal
            return Answer(number, "failed", f"{type(error).__name__} in {_place(error)}")
    keep_what_is_loaded()
    return Answer(number, "warm", ", ".join(sorted(devices)))


def _run(number: int, job: PipelineJob) -> Answer:
    """Run one job. One broad ``except``: this is the worker, and what it catches becomes a coded refusal, never silence."""
    clock = importlib.import_module("models.session").clock
    clock.reset()
    try:
        found = run_pipeline(job)
        try:
            save_findings(job.folder, found)
        except OSError as error:  # a full disk is no fault of the images
            return Answer(number, "disk", type(error).__name__)
        return Answer(number, "done", model_seconds=clock.seconds())
    except BundleError as error:
        return Answer(number, "bundle", str(error))
    except NodeError as error:
        return Answer(number, "failed", str(error))
    except Exception as error:
        if _is_device(error):
            return Answer(number, "device", str(error))
        # the type only: a library's message may quote the header
        return Answer(number, "failed", f"{type(error).__name__} in {_place(error)}")


def _is_device(error: BaseException) -> bool:
    return type(error).__name__ == "DeviceUnavailable"  # by name: the class lives beside ONNX Runtime, which is not loaded here


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
