"""Urgent work overtakes a backlog."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from dicom_node.core.run import Priority, place_in_queue
    from dicom_node.engine import port
    from dicom_node.store.connect import default_url, open_database

    home = Path(sys.argv[1])
    url = default_url(home)
    port.prepare_tables(url)
    database = open_database(url)
    order = []

    @port.step("analyse")
    def analyse(key):
        order.append(key)
        time.sleep(0.1)

    @port.workflow("run")
    def run(key):
        analyse(key)

    @port.workflow("deliver")
    def deliver(key, attempt):
        pass

    worker = port.Worker(database, url, "host-1", runs=1)
    submit = port.Port(database)
    with database.begin() as connection:
        for n in range(2000):
            submit.submit_run(connection, f"routine{n}", place_in_queue(Priority.ROUTINE, 1.8e9 + n))
    worker.start()
    while len(order) < 2:
        time.sleep(0.01)
    with database.begin() as connection:
        submit.submit_run(connection, "stat of the night", place_in_queue(Priority.STAT, 1.8e9))
        submit.submit_run(connection, "stat", place_in_queue(Priority.STAT, 1.8e9 + 60))
    before = len(order)  # the last of these is the one that runs now
    end = time.monotonic() + 20
    while "stat of the night" not in order:
        assert time.monotonic() < end, order
        time.sleep(0.01)
    print(order.index("stat") - before, order.index("stat of the night") - order.index("stat"), flush=True)
    submit.close()
    worker.stop(1)
    """
)


def test_of_two_thousand_queued_studies_a_stat_waits_for_at_most_one_running_step(tmp_path: Path) -> None:
    """A STAT behind 2,000 routine runs is the next that starts, or the one after if a step starts in that moment; newest first."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() in {"0 1", "1 1"}, done.stdout + done.stderr
