"""Locks, slots and heartbeats of a machine's processes."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dicom_node.core.errors import StoreError
from dicom_node.engine.process import beat, first_free, last_beats, only_one, until_told_to_stop
from dicom_node.engine.supervisor import _end
from dicom_node.home import Home


def test_one_process_holds_a_lock_and_slots_are_given_out_in_order(tmp_path: Path) -> None:
    """A lock that is held is refused; slots are the lowest free numbers, and a freed one is given again."""
    home = Home(tmp_path)
    with only_one(home, "work"), pytest.raises(StoreError, match="another process"), only_one(home, "work"):
        pass
    with first_free(home, "work") as first, first_free(home, "work") as second:
        assert (first, second) == ("work-1", "work-2")
    with first_free(home, "work") as again:
        assert again == "work-1"


def test_a_killed_process_frees_its_slot(tmp_path: Path) -> None:
    """The kernel gives the lock back when the process dies, so its successor has the same name."""
    code = (
        "import sys, time; from pathlib import Path; from dicom_node.home import Home\n"
        "from dicom_node.engine.process import first_free\n"
        "with first_free(Home(Path(sys.argv[1])), 'work') as slot: print(slot, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "work-1\n"
    with first_free(Home(tmp_path), "work") as other:
        assert other == "work-2"
    child.kill()
    child.wait()
    with first_free(Home(tmp_path), "work") as slot:
        assert slot == "work-1"


def test_machines_that_share_a_home_have_locks_of_their_own(tmp_path: Path) -> None:
    """With a state folder of its own each machine has the first slot."""
    one, other = Home(tmp_path, tmp_path / "one"), Home(tmp_path, tmp_path / "other")
    with only_one(one, "serve-work"), only_one(other, "serve-work"):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "other"]


def test_a_role_that_lives_and_cannot_work_is_not_ready(tmp_path: Path) -> None:
    """A beat with a problem counts as one that never came; the problem can be read in the state folder."""
    home = Home(tmp_path)
    home.state.mkdir()
    beat(home, "receive")
    beat(home, "work", "the GPU is away")
    ages = last_beats(home, ("receive", "work", "web"))
    assert ages["receive"] < 5
    assert ages["work"] == math.inf
    assert "web" not in ages
    assert json.loads((home.state / "work.json").read_text())["problem"] == "the GPU is away"


def test_a_beat_in_the_future_is_an_old_one(tmp_path: Path) -> None:
    """The clock was set back by an hour and the role has not beaten since: it hangs, and must not count as ready for an hour."""
    home = Home(tmp_path)
    home.state.mkdir()
    (home.state / "work.json").write_text(json.dumps({"pid": 1, "at": time.time() + 3600, "problem": ""}))
    assert last_beats(home, ("work",))["work"] > 3000


def test_roles_that_do_not_stop_are_killed_within_one_patience_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager waits a minute for the node, and three roles may hang at once."""
    monkeypatch.setattr("dicom_node.engine.supervisor._PATIENCE_SECONDS", 1.0)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    children = {str(n): subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) for n in range(3)}
    for child in children.values():
        assert child.stdout is not None
        child.stdout.readline()
    started = time.monotonic()
    _end(children)
    assert time.monotonic() - started < 2.0
    for child in children.values():
        assert child.wait(10) == -signal.SIGKILL
        assert child.stdout is not None
        child.stdout.close()


def test_a_role_beats_with_its_problem_until_it_is_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the role from its work stands in each beat."""
    monkeypatch.setattr("dicom_node.engine.process.BEAT_SECONDS", 0.01)
    home = Home(tmp_path)
    home.state.mkdir()
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    until_told_to_stop(home, "work", stop, lambda: "no GPU")
    assert last_beats(home, ("work",)) == {"work": math.inf}
