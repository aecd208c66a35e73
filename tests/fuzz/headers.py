"""Damaged data sets through header reading and reception's examination, in this process."""

from __future__ import annotations

import json
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_node.core.errors import StudyError
from dicom_node.core.identifiers import is_tolerable_uid
from dicom_node.imaging.header import read_facts, read_header
from dicom_node.reception.intake import Command, examined
from dicom_node.reception.part_file import PartFile
from dicom_node.reception.status import ObjectRefused
from tests.fuzz.corpus import Specimen, instance_uid
from tests.fuzz.data_sets import damaged

#: Longest time one case may take, in seconds of the processor: a busy machine is no hang.
LONGEST = 20.0


@dataclass
class Findings:
    """What a run came to."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    slowest: float = 0.0
    grown_mb: float = 0.0

    def __str__(self) -> str:
        rate = self.cases / max(self.seconds, 1e-9)
        most = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common(6))
        return (
            f"{self.cases} cases, {rate:.0f} a second, slowest {self.slowest * 1000:.0f} ms, memory +{self.grown_mb:.0f} MB, "
            f"{len(self.defects)} defects ({most})"
        )


class TooLong(Exception):
    """A case did not come to an end."""


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Break a case that hangs."""

    def bark(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, bark)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def case(seed: str, number: int) -> Specimen:
    """Return the damaged object of one case."""
    return damaged(random.Random(f"headers:{seed}:{number}"), number)


def outcome(specimen: Specimen, number: int, folder: Path) -> str:
    """Do with it what reception does; returns what came of it.

    Raises
    ------
    Exception
        Anything that reception does not expect is a defect.
    """
    uid = instance_uid(number)
    command = Command(specimen.sop_class_uid, uid, specimen.sop_class_uid, specimen.transfer_syntax_uid, "FUZZ", "AINODE")
    part = PartFile(folder / f"{number}.part", b"head")
    try:
        part.write([specimen.data])
        instance = examined(command, part)
    except ObjectRefused as refused:
        return str(refused) if len(str(refused)) <= 64 else _defect("an Error Comment longer than LO allows")
    except StudyError:
        return "unreadable"
    finally:
        part.discard()
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (specimen.sop_class_uid, uid)
    assert is_tolerable_uid(instance.study_instance_uid)
    assert is_tolerable_uid(instance.series_instance_uid)
    text = json.dumps(instance.facts.to_json())  # what goes into the database
    assert "\\u0000" not in text, "a database refuses this"
    json.loads(text)
    text.encode()
    json.dumps(instance.facts.to_json(), ensure_ascii=False).encode("utf-8")
    header = read_header(specimen.data, specimen.transfer_syntax_uid)
    assert read_facts(header.dataset, has_pixel_data=header.has_pixel_data) == instance.facts
    return "taken"


def _defect(words: str) -> str:
    raise AssertionError(words)


def run(seed: str, first: int, last: int, folder: Path, failures: Path, seconds: float = 1e9) -> Findings:
    """Run cases ``first`` to ``last - 1``, or as many as the time allows; what fails is written below ``failures``."""
    found = Findings()
    started = time.monotonic()
    memory = _megabytes()
    for number in range(first, last):
        if time.monotonic() - started > seconds:
            break
        specimen = case(seed, number)
        began = time.monotonic()
        try:
            with watchdog(LONGEST):
                said = outcome(specimen, number, folder)
        except (Exception, TooLong) as error:  # this is what is looked for
            said = f"DEFECT {type(error).__name__}"
            name = failures / f"headers-{seed}-{number}.bin"
            failures.mkdir(parents=True, exist_ok=True)
            name.write_bytes(specimen.data)
            found.defects.append(
                f"{type(error).__name__}: {str(error)[:200]} ({specimen.transfer_syntax_uid}); again with: "
                f"python -m tests.fuzz headers --seed {seed} --only {number}"
            )
        found.outcomes[said] += 1
        found.slowest = max(found.slowest, time.monotonic() - began)
        found.cases += 1
    found.seconds = time.monotonic() - started
    found.grown_mb = _megabytes() - memory
    return found


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
