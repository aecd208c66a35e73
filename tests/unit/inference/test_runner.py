"""Pipelines run in a child process: what they do wrong is an exception here."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node import plugins
from dicom_node.core.errors import BundleError, DeviceError, PipelineError, StoreError
from dicom_node.core.run import Selection
from dicom_node.core.study import Instance, Study
from dicom_node.inference.child import Answer, WarmUp
from dicom_node.inference.findings_store import has_findings, load_findings
from dicom_node.inference.runner import PipelineJob, PipelineProcess, run_pipeline

IMAGE = Instance("1.1", "1.2.1", "1.3", "1.4", "1.5", "sha", "")
STUDY = Study("st_x", "1.4", (IMAGE,))

#: A pipeline that does what its policy says.
PIPELINE = """
import os, time
from pathlib import Path
from pydantic import BaseModel
from dicom_node.core.errors import PixelDataError
from dicom_node.core.findings import Findings
from models.bundle import BundleError

NEEDS = ("nothing",)

class Settings(BaseModel):
    pass

def warm(bundles, settings):
    if "gpu" in bundles:
        raise type("DeviceUnavailable", (BundleError,), {})("the GPU was asked for and is not there")
    return ("cpu",)

def meet(study, policy):
    # waits until another job is in this child, then dies if it is the one that shall
    here = Path(policy.partition(":")[2])
    (here / study.study_key).touch()
    end = time.monotonic() + 5
    while len(list(here.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    if study.study_key == "st_dies":
        os._exit(11)
    time.sleep(0.3)
    return Findings(pipeline="obedient", read=("1.2.1",), headline=str(os.getpid()))

def select_images(study, settings):
    raise NotImplementedError

def run(study, selection, bundles, policy, settings):
    if policy == "die":
        os._exit(11)
    if policy == "gpu":
        raise type("DeviceUnavailable", (BundleError,), {})("the GPU was asked for and is not there")
    if policy.startswith("meet"):
        return meet(study, policy)
    if policy == "hang":
        time.sleep(60)
    if policy == "defect":
        raise KeyError("Doe^John")
    if policy == "pixels":
        raise PixelDataError("The pixel data is cut off.")
    if policy == "bundle":
        raise BundleError("bundle nothing is damaged")
    return Findings(pipeline="obedient", read=("1.2.1",), headline=str(os.getpid()))
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PipelineProcess]:
    """A runner that can load the pipeline above through an entry point, as a site's own package would offer it."""
    (tmp_path / "obedient_pipeline.py").write_text(PIPELINE)
    info = tmp_path / "obedient-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: obedient\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dicom_node.pipelines]\nobedient = obedient_pipeline\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    plugins._installed.cache_clear()
    runner = PipelineProcess()
    yield runner
    runner.close()
    plugins._installed.cache_clear()
    sys.modules.pop("obedient_pipeline", None)


def job(folder: Path, policy: str, selection: Selection | None = None) -> PipelineJob:
    """Return a job for the pipeline above."""
    return PipelineJob("obedient", STUDY, selection or Selection((IMAGE,)), {}, policy, folder)


def test_findings_lie_in_the_folder_and_the_child_stays_warm(process: PipelineProcess, tmp_path: Path) -> None:
    """Two jobs run in the same child, which is not this process."""
    pids = []
    for name in ("a", "b"):
        process.run(job(tmp_path / name, "fine"), 60)
        pids.append(load_findings(tmp_path / name).headline)
    assert pids[0] == pids[1] != str(__import__("os").getpid())


@pytest.mark.parametrize(("policy", "said"), [("die", "died"), ("hang", "longer than"), ("defect", "KeyError")])
def test_a_failing_pipeline_is_an_error_and_the_next_job_runs(
    process: PipelineProcess, tmp_path: Path, policy: str, said: str
) -> None:
    """A death, a time-out and a defect are PipelineErrors without the library's words, and the next job runs."""
    process.run(job(tmp_path / "warm", "fine"), 60)
    with pytest.raises(PipelineError, match=said) as caught:
        process.run(job(tmp_path / "bad", policy), 1.0 if policy == "hang" else 60)
    assert "Doe" not in str(caught.value)
    assert not has_findings(tmp_path / "bad")
    process.run(job(tmp_path / "good", "fine"), 60)
    assert has_findings(tmp_path / "good")


def test_unreadable_pixels_become_a_coded_refusal(process: PipelineProcess, tmp_path: Path) -> None:
    """A StudyError in the pipeline is an abstention with its code and sentence."""
    process.run(job(tmp_path / "r", "pixels"), 60)
    abstention = load_findings(tmp_path / "r").abstention
    assert abstention is not None
    assert (abstention.reason, abstention.detail) == ("unreadable_pixels", "The pixel data is cut off.")


def test_a_bundle_error_keeps_its_sentence(process: PipelineProcess, tmp_path: Path) -> None:
    """The child's BundleError is raised here with the same words."""
    with pytest.raises(BundleError, match="damaged"):
        process.run(job(tmp_path / "r", "bundle"), 60)


def test_nothing_to_read_is_refused_without_the_pipeline(process: PipelineProcess, tmp_path: Path) -> None:
    """An empty selection gives its refusal; the pipeline is not asked."""
    findings = run_pipeline(job(tmp_path, "die", Selection((), refusal="no_image", detail="only reports")))
    assert findings.abstention is not None
    assert (findings.abstention.reason, findings.abstention.detail) == ("no_image", "only reports")


def test_stopping_in_the_middle_of_a_job_says_nothing_about_the_images(process: PipelineProcess, tmp_path: Path) -> None:
    """A job cut off by the node's stop is a StoreError (try again), not a PipelineError, and no other child is started."""
    process.run(job(tmp_path / "warm", "fine"), 60)
    threading.Timer(0.5, process.close).start()
    with pytest.raises(StoreError, match="stopping"):
        process.run(job(tmp_path / "cut", "hang"), 30)
    with pytest.raises(StoreError, match="stopping"):
        process.run(job(tmp_path / "next", "fine"), 30)


def test_a_disk_that_takes_no_findings_is_no_failure_of_the_pipeline(process: PipelineProcess, tmp_path: Path) -> None:
    """Findings that cannot be written are a StoreError: the run waits instead of becoming a refusal."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        process.run(job(tmp_path / "file" / "r", "fine"), 60)


def test_a_gpu_that_is_not_there_keeps_runs_waiting_and_is_told_at_the_start(process: PipelineProcess, tmp_path: Path) -> None:
    """The warm-up tells it, jobs are refused for now with the reason and without findings, and nothing runs instead."""
    told: list[Answer] = []
    heard = threading.Event()

    def hear(answer: Answer) -> None:
        told.append(answer)
        heard.set()

    process.warm(WarmUp({"obedient": ({"gpu": tmp_path}, {})}), hear)
    assert heard.wait(60)
    assert (told[0].kind, told[0].text) == ("device", "the GPU was asked for and is not there")
    assert process.device_problem == told[0].text
    with pytest.raises(DeviceError, match="GPU"):
        process.run(job(tmp_path / "r", "fine"), 60)
    assert not has_findings(tmp_path / "r")


def test_a_gpu_that_is_lost_in_a_job_is_no_verdict_about_the_images(process: PipelineProcess, tmp_path: Path) -> None:
    """A network that cannot be loaded on its device is a DeviceError, not a refusal."""
    with pytest.raises(DeviceError, match="GPU"):
        process.run(job(tmp_path / "r", "gpu"), 60)
    assert process.device_problem


def test_the_warm_up_says_which_device_is_used(process: PipelineProcess, tmp_path: Path) -> None:
    """The answer names it, and jobs run afterwards in the same child."""
    told: list[Answer] = []
    heard = threading.Event()
    process.warm(WarmUp({"obedient": ({"any": tmp_path}, {})}), lambda answer: (told.append(answer), heard.set())[0])
    assert heard.wait(60)
    assert (told[0].kind, told[0].text) == ("warm", "cpu")
    assert process.run(job(tmp_path / "r", "fine"), 60) == 0.0
    assert process.device_problem == ""


def test_jobs_at_once_share_a_child_and_none_is_blamed_for_the_death_of_another(process: PipelineProcess, tmp_path: Path) -> None:
    """Two jobs meet in one child; one kills it. It alone fails; the other is run again by itself and has its findings."""
    both = PipelineProcess(concurrency=2)
    (tmp_path / "here").mkdir()
    outcome: dict[str, object] = {}

    def run(key: str) -> None:
        study = Study(key, "1.4", (IMAGE,))
        one = PipelineJob("obedient", study, Selection((IMAGE,)), {}, f"meet:{tmp_path / 'here'}", tmp_path / key)
        try:
            outcome[key] = both.run(one, 60)
        except PipelineError as error:
            outcome[key] = str(error)

    threads = [threading.Thread(target=run, args=(key,)) for key in ("st_dies", "st_lives")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    both.close()
    assert "died" in str(outcome["st_dies"])
    assert outcome["st_lives"] == 0.0
    assert has_findings(tmp_path / "st_lives")
    assert not has_findings(tmp_path / "st_dies")


def test_a_child_that_cannot_be_started_does_not_keep_its_place(
    process: PipelineProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory for a process: that run fails, and the next one has a place and a child."""

    def failing() -> None:
        raise OSError("Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(process, "_started", failing)
        with pytest.raises(OSError, match="memory"):
            process.run(job(tmp_path / "bad", "fine"), 60)
    late = threading.Thread(target=process.run, args=(job(tmp_path / "good", "fine"), 60), daemon=True)
    late.start()
    late.join(60)
    assert has_findings(tmp_path / "good")


def test_the_time_limit_holds_while_the_child_reads_nothing(process: PipelineProcess, tmp_path: Path) -> None:
    """A job larger than the pipe's buffer, and a child that is stuck: the run ends in time, and the next one has a new child."""
    process.run(job(tmp_path / "warm", "fine"), 60)
    first = process._child
    assert first is not None
    os.kill(first._process.pid, signal.SIGSTOP)
    large = Study("st_x", "1.4", tuple(Instance("1.1", f"1.2.{n}", "1.3", "1.4", "1.5", "sha", "") for n in range(5000)))
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            process.run(PipelineJob("obedient", large, Selection((IMAGE,)), {}, "fine", tmp_path / "large"), 1.0)
        except PipelineError as error:
            failed.append(error)

    waiting = threading.Thread(target=attempt, daemon=True)
    waiting.start()
    waiting.join(20)
    first._process.kill()  # whatever came of it
    assert [str(error) for error in failed] == ["pipeline obedient took longer than 1 s and was stopped"]
    process.run(job(tmp_path / "good", "fine"), 60)
    assert has_findings(tmp_path / "good")
