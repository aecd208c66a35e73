"""Erasing a person, or one study: rows in one transaction a study, then the files, then the places where deleted bytes linger.

A crash in between leaves marked rows: ``finish`` goes on, from the command or from the node's own timer. Rows of what arrives
meanwhile under the same UIDs are new rows: nothing that was acknowledged is lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.errors import UsageError
from dicom_node.core.identifiers import patient_key, plain
from dicom_node.core.study import HeaderFacts
from dicom_node.engine.port import Port
from dicom_node.home import Home
from dicom_node.orders import step as orders
from dicom_node.reception.object_file import INCOMING
from dicom_node.stages.answers.ae_titles import FOLDER as ANSWERS
from dicom_node.store import erasure
from dicom_node.store.compact import compact, drop_copies
from dicom_node.store.connect import reading
from dicom_node.store.tables import instance
from dicom_node.studies import opt_outs, repository
from dicom_node.studies import step as studies
from dicom_node.studies.files import object_path

#: Files without a row that are older than this belong to nobody who is still writing.
LEFTOVER_SECONDS = 600.0
#: How long the command waits for a step that was at work on what is erased.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Found:
    """What would be erased. ``keys``: of the person in the hospital's messages; empty where one study is meant."""

    studies: tuple[str, ...]
    keys: frozenset[str] = frozenset()
    promised: int = 0  # studies whose sender was promised that they are kept


@dataclass
class Erased:
    """What was."""

    studies: int = 0
    objects: int = 0
    results: int = 0
    answers: int = 0
    others: int = 0  # rows of messages: demographics, orders, laboratory
    copies: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def of_study(connection: sa.Connection, key_or_uid: str) -> Found:
    """Return one study; ``UsageError`` where it is not known, or under legal hold."""
    return _allowed(connection, [studies.find_study(connection, key_or_uid)], frozenset())


def of_patient(connection: sa.Connection, patient_id: str, issuer: str = "") -> Found:
    """Return everything of one person, under merged numbers too.

    Raises
    ------
    UsageError
        Nothing is known of them; the number is used by several issuers and none is named; a study holds images of another
        patient as well; a study is under legal hold. The message says the cure.
    """
    keys = orders.keys_of_issuer(connection, patient_id, issuer) if issuer else orders.keys_of(connection, patient_id)
    numbers = {key.partition("|")[0] for key in keys}
    authorities = {key.partition("|")[2] for key in keys} - {""}
    named = _patients_of_studies(connection)
    mine = {study: who for study, who in named.items() if any(plain(one) in numbers for one, _ in who)}
    number = patient_key(patient_id).partition("|")[0]
    issuers = {plain(issued_by) for who in mine.values() for one, issued_by in who if plain(one) == number}
    issuers |= {key.partition("|")[2] for key in keys if key.partition("|")[0] == number}
    if not issuer and len(issuers - {""}) > 1:
        raise UsageError(
            f"several issuers use this number ({', '.join(sorted(issuers - {''}))}): say which, with --issuer. "
            "Where all of them mean the same person, run the command once for each"
        )
    chosen = []
    for study, who in sorted(mine.items()):
        if issuer and not any(plain(one) in numbers and (not a or plain(a) in authorities) for one, a in who):
            continue  # another hospital's patient of the same number
        if any(plain(one) and plain(one) not in numbers for one, _ in who):
            raise UsageError(
                f"{study} also holds images of another patient. Erase it whole, as one study, with --study {study}; "
                "then run this command again"
            )
        chosen.append(study)
    if not chosen and not orders.knows(connection, keys):
        raise UsageError("this node knows nothing of that patient")
    return _allowed(connection, chosen, frozenset(keys))


def erase(database: sa.Engine, home: Home, port: Port, found: Found, *, worker_lives: Callable[[], bool] = lambda: False) -> Erased:
    """Erase it. What goes on alone afterwards, and what a person must do, stands in ``problems``.

    Parameters
    ----------
    worker_lives
        Says whether a process takes work now: then a step that was under way is waited for.

    Raises
    ------
    UsageError
        A study was put under legal hold meanwhile; what was erased before stays so.
    """
    done = Erased()
    runs: set[str] = set()
    deliveries: set[str] = set()
    for key in found.studies:
        with database.begin() as connection:
            row = repository.locked_study(connection, key)
            if row is None:
                continue
            _refuse_hold([row])
            done.others += _forget_orders(connection, key)
            rows = erasure.erase_study(connection, key, time.time())
        runs |= rows.run_keys
        deliveries |= rows.delivery_ids
        done.studies += 1
        done.objects += rows.objects
        done.results += len(rows.run_keys)
        done.answers += rows.answers
    if found.keys:
        with database.begin() as connection:
            _keep_opt_outs(connection, home, found.keys)
            done.others += orders.forget_person(connection, found.keys)
    if not _at_rest(port, runs, deliveries, worker_lives):
        done.problems.append("A step was still at work on it; what it leaves behind is removed by the node within ten minutes.")
    port.forget(runs, deliveries)
    left = finish(database, home) + _sweep_folders(database, home, found.studies)
    if left:
        done.problems.append(f"{left} file(s) could not be removed; the node tries again every ten minutes. See the log.")
    done.copies = drop_copies(database)
    done.problems += compact(database)
    log.event("study.erased", count=done.studies)
    return done


def finish(database: sa.Engine, home: Home) -> int:
    """Remove the files of what was erased, and then their rows; return how many could not be. Called again and again."""
    with reading(database) as connection:
        files = erasure.marked_files(connection)
        runs = [key for key in erasure.erased_runs(connection) if (home.results / key).exists()]
    gone = [one for one in files if _removed(home.path, one[2])]
    _never_again(home.path, {one[2] for one in gone})
    for key in runs:
        shutil.rmtree(home.results / key, ignore_errors=True)
    if gone or runs:
        with database.begin() as connection:
            erasure.forget_files(connection, gone)
            erasure.forget_late(connection, runs)
    kept = sum((home.results / key).exists() for key in runs)
    return len(files) - len(gone) + kept


def _allowed(connection: sa.Connection, keys: Iterable[str], person: frozenset[str]) -> Found:
    rows = [row for row in (repository.study_row(connection, key) for key in keys) if row is not None]
    _refuse_hold(rows)
    promised = sum(row.committed_utc is not None for row in rows)
    return Found(tuple(row.study_key for row in rows), person, promised)


def _refuse_hold(rows: Iterable[sa.Row[tuple[object, ...]]]) -> None:
    held = [row.study_key for row in rows if row.legal_hold]
    if held:
        raise UsageError(
            f"under legal hold: {', '.join(held)}. Nothing was erased of it. When the hold is over: "
            f"dicom-node studies hold {held[0]} --release --home DIR"
        )


def _patients_of_studies(connection: sa.Connection) -> dict[str, set[tuple[str, str]]]:
    """Return (Patient ID, issuer) that the objects of each study name, whatever has become of them."""
    f = instance.c.facts
    query = sa.select(instance.c.study_key, f["patient_id"].as_string(), f["issuer_of_patient_id"].as_string()).distinct()
    found: dict[str, set[tuple[str, str]]] = {}
    for key, number, issuer in connection.execute(query.where(instance.c.state != erasure.ERASED)):
        found.setdefault(key, set()).add((number or "", issuer or ""))
    return found


def _forget_orders(connection: sa.Connection, study_key: str) -> int:
    """Forget the orders that the study's objects name."""
    gone = 0
    for facts in map(HeaderFacts.from_json, erasure.facts_of(connection, study_key)):
        numbers = {number.reveal() for number in (facts.accession_number, *facts.requested_accessions)}
        keys = orders.keys_of(connection, facts.patient_id.reveal(), facts.issuer_of_patient_id.reveal())
        gone += sum(orders.forget_order(connection, number, keys) for number in numbers if number.strip())
    return gone


def _keep_opt_outs(connection: sa.Connection, home: Home, keys: Collection[str]) -> None:
    """Write a wish under each number of the person: that the records were merged is forgotten with them."""
    numbers = {key.partition("|")[0] for key in keys}
    for scope in opt_outs.SCOPES:
        if opt_outs.opted_out(connection, home, numbers, scope):
            for number in numbers:
                opt_outs.add(connection, home, number, scope=scope)


def _at_rest(port: Port, runs: set[str], deliveries: set[str], worker_lives: Callable[[], bool]) -> bool:
    """Wait until nothing is under way for these; says whether it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while worker_lives():
        alive = {name.split(":")[1] for prefix in ("run:", "dlv:") for name in port.alive(prefix)}
        if not alive & (runs | deliveries):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True


def _sweep_folders(database: sa.Engine, home: Home, keys: Iterable[str]) -> int:
    """Remove what lies without a row where objects of these studies lay, and what a crash left half received; return what stays."""
    old = time.time() - LEFTOVER_SECONDS
    with reading(database) as connection:
        known = set(connection.execute(sa.select(instance.c.storage_key).where(instance.c.study_key.in_(sorted(keys)))).scalars())
        known |= erasure.files_of_answers(connection)
    left = 0
    for root in (Path(), Path(ANSWERS)):  # images, and what came to the answer AE titles
        for key in keys:
            folder = home.store / root / key[-2:] / key
            for path in folder.rglob("*") if folder.is_dir() else ():
                if path.is_file() and path.relative_to(home.store).as_posix() not in known and path.stat().st_mtime < old:
                    left += not _unlinked(path)
            with contextlib.suppress(OSError):  # it is not there, or something new lies in it
                folder.rmdir()
            unclaimed = home.path / "unclaimed" / root / key[-2:] / key
            shutil.rmtree(unclaimed, ignore_errors=True)
            left += unclaimed.exists()
        for path in (home.store / root / INCOMING).glob("*.part"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < old:
                    left += not _unlinked(path)
    return left


def _removed(home: Path, storage_key: str) -> bool:
    if not storage_key:
        return True
    try:
        path = object_path(home, storage_key)
    except ValueError:
        return False
    return _unlinked(path)


def _never_again(home: Path, storage_keys: Iterable[str]) -> None:
    """Sync the folders of files that are gone, before their rows go: a power cut would bring files back that nobody knows of."""
    for folder in {object_path(home, key).parent for key in storage_keys if key}:
        with contextlib.suppress(OSError):  # it is gone already
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folder.rmdir()  # unless another object lies in it


def _unlinked(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.event("erase.failed", error=type(error).__name__)
        return False
    return True
