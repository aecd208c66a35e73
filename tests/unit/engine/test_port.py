"""The engine does what the port promises: one transaction, one run per id, delays, recovery. Guards the pin of DBOS."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from dicom_node.engine import port
    from dicom_node.store.connect import default_url, open_database

    home, part = Path(sys.argv[1]), sys.argv[2]
    url = default_url(home)
    port.prepare_tables(url)
    database = open_database(url)
    ledger = home / "ledger"

    @port.step("note")
    def note(text):
        with ledger.open("a") as file:
            file.write(text + chr(10))

    @port.step("hang")
    def hang():
        if part == "first":
            time.sleep(60)

    @port.workflow("run")
    def run(key):
        note(f"{key} begun")
        if key == "slow":
            hang()
        note(f"{key} done")

    @port.workflow("deliver")
    def deliver(key, attempt):
        note(f"{key} {attempt}")

    worker = port.Worker(database, url, "host-1", runs=1)
    submit = port.Port(database)

    def wait_for(text, seconds=15):
        end = time.monotonic() + seconds
        while text not in (ledger.read_text().splitlines() if ledger.exists() else []):
            assert time.monotonic() < end, (text, ledger.read_text() if ledger.exists() else "")
            time.sleep(0.05)

    worker.start()
    if part == "first":
        with database.begin() as connection:
            submit.submit_run(connection, "twice", 10)
            submit.submit_run(connection, "twice", 10)
            submit.submit_delivery(connection, "later", 1, "pacs", 10, 2.0)
        try:
            with database.begin() as connection:
                submit.submit_run(connection, "rolledback", 10)
                raise KeyError
        except KeyError:
            pass
        assert submit.alive("dlv:") == {"dlv:later:1"}
        wait_for("twice done")
        assert "later 1" not in ledger.read_text()
        wait_for("later 1")
        with database.begin() as connection:
            submit.submit_run(connection, "slow", 10)
        wait_for("slow begun")
        assert submit.alive("run:") == {"run:slow"}
        print("ready", flush=True)
        time.sleep(60)
    else:
        wait_for("slow done", 30)
        end, forgotten = time.monotonic() + 15, 0
        while forgotten < 3:  # the last note is written a moment before its workflow ends
            assert time.monotonic() < end, forgotten
            forgotten += worker.forget_finished(-60)
        worker.stop()
        submit.close()
        print("ended", flush=True)
    """
)


def test_work_survives_kill_and_runs_once(tmp_path: Path) -> None:
    """A rolled-back submission is gone, a repeated id runs once, a delay holds, kill -9 is taken up at the unfinished step."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    first = subprocess.Popen([sys.executable, script, tmp_path, "first"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    first.kill()
    first.wait()
    second = subprocess.run([sys.executable, script, tmp_path, "second"], capture_output=True, text=True, timeout=60, check=False)
    assert second.stdout == "ended\n", second.stdout + second.stderr
    lines = (tmp_path / "ledger").read_text().splitlines()
    assert lines.count("twice begun") == lines.count("twice done") == lines.count("later 1") == 1
    assert lines.count("slow begun") == lines.count("slow done") == 1  # the finished step did not run again
    assert not [line for line in lines if "rolledback" in line]
