"""Several machines on one database: receivers and workers are killed at random; nothing is lost, nothing is answered twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.core.product import PRODUCT_NAME
from dicom_node.demo.peers import OrthancPacs, free_ports, listens, send, wait_for
from tests.integration.running_node import SENDER, RunningNode, configuration
from tests.integration.test_kill import EXPECTED, studies

#: Short, so that a test sees a takeover: a silence of 3 s is death.
LEASES = {"lease_beat_seconds": 0.5, "lease_dead_seconds": 3}


class Machine:
    """One role as a process of its own, with its own state folder, as on a host of its own."""

    def __init__(self, home: Path, role: str, name: str, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "dicom_node", "serve", "--home", str(home), "--only", role]
        self._command += ["--state", str(home.parent / f"state-{name}")]
        self._environment = {**os.environ, **environment}
        self._log = home / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True, env=self._environment)

    def kill(self) -> None:
        """kill -9, with its children."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Cluster:
    """Two receivers and two workers; they share the home folder and the database."""

    def __init__(self, node: RunningNode) -> None:
        self.node = node
        self.ports = free_ports(2)
        home = node.home.path
        self.machines = [
            Machine(home, "receive", f"receive{n}", {"DICOM_NODE__RECEPTION__PORT": str(port)}) for n, port in enumerate(self.ports)
        ]
        self.machines += [Machine(home, "work", f"work{n}", {}) for n in range(2)]

    def start(self) -> None:
        """Start all four and wait for both ports."""
        for machine in self.machines:
            machine.start()
        for port in self.ports:
            wait_for("a receiver", lambda port=port: listens(port), 60)

    def stop(self) -> None:
        """End all four."""
        for machine in self.machines:
            machine.kill()


def run_and_kill(cluster: Cluster, pacs: OrthancPacs, count: int, kills: int, seed: int) -> Counter[str]:
    """Send ``count`` studies to both receivers while killing one receiver and one worker ``kills`` times.

    Returns what went wrong, empty when nothing did.
    """
    chance = random.Random(seed)
    sent = studies(count)
    queue = list(sent)
    down: list[tuple[float, Machine]] = []  # when it comes back
    done = 0
    next_kill = time.monotonic() + chance.uniform(0.5, 2.0)
    while queue or done < kills or down:
        now = time.monotonic()
        for back in [one for one in down if one[0] <= now]:
            down.remove(back)
            back[1].start()
        if done < kills and now > next_kill and not down:
            for machine in (chance.choice(cluster.machines[:2]), chance.choice(cluster.machines[2:])):
                machine.kill()
                down.append((now + chance.choice((0.0, 1.0, 5.0)), machine))  # 5 s: the others take over
            done += 1
            next_kill = now + chance.uniform(1.0, 4.0)
        if queue:
            _send(cluster, queue.pop(), chance)
        else:
            time.sleep(0.1)
    wrong: Counter[str] = Counter()
    for dataset in sent:
        uid = str(dataset.StudyInstanceUID)
        cluster.node.wait_until_answered(uid, seconds=300)
        back = [d for d in pacs.fetch(uid) if d.get("ManufacturerModelName") == PRODUCT_NAME]
        kinds = Counter(d.SOPClassUID.name for d in back)
        wrong["lost"] += sum((EXPECTED - kinds).values())
        wrong["twice"] += sum((kinds - EXPECTED).values())
        wrong["other patient"] += sum(d.PatientID != dataset.PatientID for d in back)
    faults = ", ".join(f"{name} {wrong[name]}" for name in ("lost", "twice", "other patient"))
    print(f"studies {count}, {done} times a receiver and a worker killed: {faults}")
    return +wrong


def _send(cluster: Cluster, dataset: object, chance: random.Random) -> None:
    """Send as a PACS with two destinations does: the other one when one does not answer, until one says success."""
    end = time.monotonic() + 90
    port = chance.choice(cluster.ports)
    while True:
        try:
            send([dataset], port, cluster.node.ae_title, SENDER)  # type: ignore[list-item]
        except Exception:  # any failure of the association means: not acknowledged
            assert time.monotonic() < end, "no receiver answers"
            port = chance.choice(cluster.ports)
            time.sleep(0.1)
        else:
            return


@pytest.fixture
def cluster(tmp_path: Path, postgresql: str, pacs: OrthancPacs) -> object:
    """Two receivers, two workers, one PostgreSQL, one PACS."""
    settings = {**configuration(pacs_port=pacs.dicom_port), "database_url": postgresql, "work": LEASES}
    made = Cluster(RunningNode(tmp_path / "home", settings))
    made.start()
    yield made
    made.stop()
    made.node.close()


def test_machines_are_killed_and_every_study_is_answered_once(cluster: Cluster, pacs: OrthancPacs) -> None:
    """Three times one of two receivers and one of two workers is killed: each acknowledged study is answered exactly once."""
    assert run_and_kill(cluster, pacs, count=20, kills=3, seed=4) == Counter()


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_two_hundred_studies_and_ten_kills(cluster: Cluster, pacs: OrthancPacs) -> None:
    """The same over 200 studies and ten kills of one of each."""
    assert run_and_kill(cluster, pacs, count=200, kills=10, seed=5) == Counter()


def test_what_a_dead_worker_held_is_taken_over_by_the_other(cluster: Cluster, pacs: OrthancPacs) -> None:
    """With one worker killed for good the other answers everything, and holds the timers alone."""
    sent = studies(6)
    for dataset in sent:
        send([dataset], cluster.ports[0], cluster.node.ae_title, SENDER)
    time.sleep(1.0)  # both are at work
    cluster.machines[2].kill()
    for dataset in sent:
        cluster.node.wait_until_answered(str(dataset.StudyInstanceUID), seconds=120)
    time.sleep(2 * 3)
    with cluster.node.database.connect() as connection:
        rows = connection.execute(sa.text("SELECT name, holder, role FROM lease WHERE role = 'work'")).all()
        pending = connection.execute(sa.text("SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING'")).scalar()
    (timers,) = [row for row in rows if row.name == "timers"]
    assert timers.holder in {row.name for row in rows if row.name != "timers"}
    assert pending == 0
