"""The engine's private and borrowed parts do what several machines need. Guards the pin of DBOS."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

from dicom_node.engine.port import lane

SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import sqlalchemy as sa
    from dicom_node.engine import port
    from dicom_node.store.connect import default_url, open_database

    home, part = Path(sys.argv[1]), sys.argv[2]
    url = default_url(home)
    port.prepare_tables(url)
    database = open_database(url)
    port.POLL_SECONDS = 3.0

    @port.workflow("run")
    def run(key):
        pass

    @port.step("begin")
    def begin(key):
        print("begun", key, time.time(), flush=True)
        if part == "dies":
            time.sleep(60)

    @port.workflow("deliver")
    def deliver(key, attempt):
        begin(key)

    worker = port.Worker(database, url, part)
    submit = port.Port(database, {"pacs": 1})

    def row():
        columns = "status, queue_name, queue_partition_key, priority, executor_id, recovery_attempts"
        with database.connect() as connection:
            return connection.execute(sa.text(f"SELECT {columns} FROM workflow_status WHERE workflow_uuid LIKE 'dlv:%'")).one()

    worker.start()
    if part == "dies":
        with database.begin() as connection:
            submit.submit_delivery(connection, "dl_1", 1, "pacs", 5, 0.0)
        time.sleep(60)
    before = row()
    assert before.status == "PENDING" and before.executor_id == "dies", before
    assert worker.take_over({"dies", "lives"}) == []  # its owner lives: hands off
    assert row().executor_id == "dies"
    assert worker.take_over({"lives"}) == ["dies"]
    assert worker.take_over({"lives"}) == []  # again is harmless
    end = time.monotonic() + 20
    while row().status != "SUCCESS":
        assert time.monotonic() < end, row()
        time.sleep(0.02)
    after = row()
    assert (after.queue_name, after.queue_partition_key, after.priority) == ("deliveries", "pacs#0", 5), after
    assert after.executor_id == "lives" and after.recovery_attempts == before.recovery_attempts + 1, (before, after)

    times = []
    for n in range(3):  # the bell: far sooner than the poll
        with database.begin() as connection:
            submit.submit_delivery(connection, f"dl_bell{n}", 1, "pacs", 5, 0.0)
        times.append(time.time())
        submit.ring(port.DELIVERIES)
        time.sleep(0.5)
    print("rung", *times, flush=True)
    worker.stop(2)
    submit.close()
    """
)


def test_what_a_dead_process_ran_is_taken_over_with_its_queue_lane_and_priority(tmp_path: Path) -> None:
    """Taking over leaves the living alone, keeps queue, lane and priority, counts the attempt; and a bell beats the poll of 3 s."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    first = subprocess.Popen([sys.executable, script, tmp_path, "dies"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline().startswith("begun dl_1")
    first.kill()
    first.wait()
    second = subprocess.run([sys.executable, script, tmp_path, "lives"], capture_output=True, text=True, timeout=90, check=False)
    lines = [line.split() for line in second.stdout.splitlines()]
    (rung,) = [line[1:] for line in lines if line[0] == "rung"] or [[]]
    assert rung, second.stdout + second.stderr
    begun = {line[1]: float(line[2]) for line in lines if line[0] == "begun"}
    waits = sorted(begun[f"dl_bell{n}"] - float(at) for n, at in enumerate(rung))
    assert waits[1] < 0.5  # of three, one may meet a busy machine


def test_a_destination_has_as_many_lanes_as_attempts_at_once() -> None:
    """The lane follows from the delivery, lies within the limit, and deliveries spread over all lanes."""
    lanes = Counter(lane("pacs", f"dl_{n}", 3) for n in range(300))
    assert set(lanes) == {"pacs#0", "pacs#1", "pacs#2"}
    assert min(lanes.values()) > 50
    assert lane("pacs", "dl_1", 3) == lane("pacs", "dl_1", 3)
    assert lane("pacs", "dl_1", 1) == "pacs#0"
