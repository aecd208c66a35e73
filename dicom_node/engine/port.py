"""The only module that imports DBOS: submit work in the caller's transaction, run it, find out whether it is still alive.

A ``Worker`` dequeues; every other process only submits (``Port``). On SQLite there is one worker, on PostgreSQL as many as one
likes. Workflow ids are the domain's ids, so submitting twice runs once. Arguments are plain strings and numbers in JSON: never
pixels, never an identifier of a patient.

A queue is asked every ``POLL_SECONDS``. ``Port.ring`` after a commit has this process' worker ask at once: a hop then costs
milliseconds, and when nobody rings (another process submitted, or this one died in between) the next poll finds the work.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

from dicom_node.engine import bell

#: Pinned by hand, not the hash of the sources that DBOS would take: an edit must not strand waiting work.
#: Raise it only when the order of steps changes; the sweep then submits what the old version left.
APPLICATION_VERSION = "engine-1"
APPLICATION_NAME = "dicom-node"
#: A power cut counts against every workflow that runs on the host, so the limit is generous; ``run.crashes`` is our own counter.
MAX_RECOVERY_ATTEMPTS = 20
POLL_SECONDS = 0.2

RUNS = "runs"
DELIVERIES = "deliveries"
QUEUES = (RUNS, DELIVERIES)
#: Deliveries that one process makes at once, to all destinations together.
DELIVERIES_AT_ONCE = 16
ALIVE = ("PENDING", "ENQUEUED", "DELAYED")

F = TypeVar("F", bound=Callable[..., Any])


def workflow(name: str) -> Callable[[F], F]:
    """Make a function a durable workflow: after a crash it goes on at the first step that was not finished."""
    return DBOS.workflow(name=name, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)


def step(name: str) -> Callable[[F], F]:
    """Make a function a step: its result is kept, and it may run twice, so it must be idempotent."""
    return DBOS.step(name=name)


def prepare_tables(url: str) -> None:
    """Create the engine's own tables beside ours."""
    DBOS.migrate(system_database_url=url)


def lane(destination: str, delivery_id: str, limit: int) -> str:
    """Return the partition of the delivery queue that an attempt waits in.

    A destination has ``limit`` lanes and each lane runs one attempt at a time, over all processes: that is how a limit of its own
    holds for every destination, on one queue.
    """
    number = int.from_bytes(hashlib.sha256(delivery_id.encode()).digest()[:4]) % max(1, limit)
    return f"{destination}#{number}"


class Port:
    """Submits work. ``database`` is the engine of ``store.connect``, on which ``prepare_tables`` has run.

    ``limits``: attempts at once by destination; one that is not named gets 1.
    """

    def __init__(self, database: sa.Engine, limits: Mapping[str, int] | None = None) -> None:
        self._limits = dict(limits or {})
        self._client = DBOSClient(
            system_database_engine=database, serializer=DBOSPortableJSONSerializer(), application_name=APPLICATION_NAME, lazy=True
        )

    def submit_run(self, connection: sa.Connection, run_key: str, priority: int, again: int = 0) -> None:
        """Queue a run in the caller's transaction. ``again`` > 0, another number each time, marks a re-submission by the sweep."""
        workflow_id = f"run:{run_key}" + (f":{again}" if again else "")
        self._put(connection, "run", RUNS, workflow_id, priority, "", 0.0, run_key)

    def submit_delivery(
        self, connection: sa.Connection, delivery_id: str, attempt: int, destination: str, priority: int, delay_seconds: float
    ) -> None:
        """Queue one attempt in the caller's transaction; a delayed one holds no slot while it waits."""
        self._put(
            connection,
            "deliver",
            DELIVERIES,
            f"dlv:{delivery_id}:{attempt}",
            priority,
            lane(destination, delivery_id, self._limits.get(destination, 1)),
            delay_seconds,
            delivery_id,
            attempt,
        )

    def ring(self, queue: str) -> None:
        """Say that something was committed for a queue: a worker in this process looks at once. Costs nothing elsewhere."""
        bell.ring(queue)

    def _put(
        self,
        connection: sa.Connection,
        name: str,
        queue: str,
        workflow_id: str,
        priority: int,
        partition: str,
        delay: float,
        *args: Any,
    ) -> None:
        options: dict[str, Any] = {
            "workflow_name": name,
            "queue_name": queue,
            "workflow_id": workflow_id,
            "priority": priority,
            "app_version": APPLICATION_VERSION,
        }
        if partition:
            options["queue_partition_key"] = partition
        if delay > 0:
            options["delay_seconds"] = delay
        self._client.enqueue_in_transaction(connection, options, *args)

    def alive(self, prefix: str) -> set[str]:
        """Return the ids of workflows that are queued, waiting or running, by prefix (``run:`` or ``dlv:``).

        Those of another ``APPLICATION_VERSION`` are not alive: no worker takes them.
        """
        found = self._client.list_workflows(
            status=list(ALIVE), workflow_id_prefix=prefix, app_version=APPLICATION_VERSION, load_input=False, load_output=False
        )
        return {status.workflow_id for status in found}

    def forget(self, run_keys: Collection[str], delivery_ids: Collection[str]) -> None:
        """Delete the engine's record of everything about these runs and deliveries, what still waits too."""
        for prefix in (*(f"run:{key}" for key in run_keys), *(f"dlv:{key}:" for key in delivery_ids)):
            found = self._client.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False)
            if found:
                self._client.delete_workflows([status.workflow_id for status in found])

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()


class Worker:
    """Runs the queues in this process. Register workflows (``workflow``) before ``start``.

    Parameters
    ----------
    executor_id
        Name under which running work is marked as this process' own. A successor of the same name takes up what it left; of two
        living processes each needs its own (``engine.leases``).
    runs
        Runs at once.
    queues
        Queues that this process takes work from.
    """

    def __init__(self, database: sa.Engine, url: str, executor_id: str, *, runs: int = 1, queues: Collection[str] = QUEUES) -> None:
        self._runs = runs
        self._queues = tuple(queues)
        bell.hang()
        DBOS(
            config={
                "name": APPLICATION_NAME,
                "system_database_url": url,
                "system_database_engine": database,
                "run_migrations": False,
                "application_version": APPLICATION_VERSION,
                "executor_id": executor_id,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "CRITICAL",
                "scheduler_polling_interval_sec": 5.0,
            }
        )
        DBOS.listen_queues(list(self._queues))

    def start(self) -> None:
        """Take up what a predecessor of the same name left, then dequeue."""
        DBOS.launch()
        common: dict[str, Any] = {"polling_interval_sec": POLL_SECONDS, "on_conflict": "always_update"}
        DBOS.register_queue(RUNS, worker_concurrency=self._runs, **common)
        DBOS.register_queue(DELIVERIES, worker_concurrency=DELIVERIES_AT_ONCE, partition_concurrency=1, **common)

    def take_over(self, living: Collection[str]) -> list[str]:
        """Put back into its queue whatever runs under the name of a process that is not among ``living``; return those names.

        Level-triggered: call it again and again, for ever. What a dead process left is found at the next call even if the process
        that would have saved it died in the act.
        """
        running = DBOS.list_workflows(status="PENDING", app_version=APPLICATION_VERSION, load_input=False, load_output=False)
        dead = sorted({status.executor_id for status in running if status.executor_id} - set(living))
        if dead:
            # private, pinned and held by a test: the public resume forgets the queue, its limits and the count of attempts
            DBOS._recover_pending_workflows(dead)
            for queue in self._queues:
                bell.ring(queue)
        return dead

    def stop(self, patience_seconds: int = 10) -> None:
        """Stop dequeuing and let running steps end; what does not end in time goes on after the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=patience_seconds)

    def forget_finished(self, older_than_seconds: float) -> int:
        """Delete the engine's record of workflows that ended long ago; the domain rows stay. Returns how many."""
        cutoff = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - older_than_seconds))
        ended = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            completed_before=cutoff,
            limit=1000,
            load_input=False,
            load_output=False,
        )
        for status in ended:
            DBOS.delete_workflow(status.workflow_id)
        return len(ended)
