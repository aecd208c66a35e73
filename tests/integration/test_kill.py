"""kill -9 at random moments: what was acknowledged is answered, exactly once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import Dataset

from dicom_node.core.product import PRODUCT_NAME
from dicom_node.demo.peers import OrthancPacs, send
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.integration.running_node import SENDER, RunningNode, configuration

EXPECTED = Counter({"Basic Text SR Storage": 1, "Secondary Capture Image Storage": 1})


def studies(count: int) -> list[Dataset]:
    """Return that many small chest phantoms, each a study and a patient of its own."""
    made = []
    for seed in range(count):
        image, _, _ = chest_phantom(seed=seed % 5, size=512, abnormal=bool(seed % 2))
        made.append(as_radiograph(image, seed=f"kill-{seed}", PatientID=f"KILL{seed:04d}", PatientName=f"Kill^Number{seed}"))
    return made


def send_until_acknowledged(dataset: Dataset, node: RunningNode, seconds: float = 90) -> None:
    """Send as a PACS does: try again until the node says success."""
    end = time.monotonic() + seconds
    while True:
        try:
            send([dataset], node.port, node.ae_title, SENDER)
        except Exception:  # any failure of the association means: not acknowledged
            assert time.monotonic() < end, "the node did not come back"
            time.sleep(0.2)
        else:
            return


def kill_and_count(node: RunningNode, pacs: OrthancPacs, count: int, kills: int, seed: int) -> Counter[str]:
    """Send ``count`` studies while killing the node ``kills`` times; returns what went wrong, empty when nothing did."""
    chance = random.Random(seed)
    sent = studies(count)
    queue = list(sent)
    done_kills = 0
    next_kill = time.monotonic() + chance.uniform(0.3, 2.0)
    while queue or done_kills < kills:
        if queue:
            send_until_acknowledged(queue.pop(), node)
        else:
            time.sleep(chance.uniform(0.2, 1.0))
        if done_kills < kills and time.monotonic() > next_kill:
            node.kill()
            node.start()
            done_kills += 1
            next_kill = time.monotonic() + chance.uniform(0.3, 4.0)
    wrong: Counter[str] = Counter()
    for dataset in sent:
        uid = str(dataset.StudyInstanceUID)
        node.wait_until_answered(uid, seconds=240)
        back = [d for d in pacs.fetch(uid) if d.get("ManufacturerModelName") == PRODUCT_NAME]
        kinds = Counter(d.SOPClassUID.name for d in back)
        wrong["missing"] += sum((EXPECTED - kinds).values())
        wrong["twice"] += sum((kinds - EXPECTED).values())
        wrong["other patient"] += sum(d.PatientID != dataset.PatientID for d in back)
    faults = ", ".join(f"{name} {wrong[name]}" for name in ("missing", "twice", "other patient"))
    print(f"studies {count}, kills {done_kills}, {faults}")
    return +wrong


def test_every_acknowledged_study_is_answered_once_after_kills(node: RunningNode, pacs: OrthancPacs) -> None:
    """After kill -9 at random moments every acknowledged study has its results in the PACS exactly once (short form)."""
    assert kill_and_count(node, pacs, count=6, kills=3, seed=1) == Counter()


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_forty_studies_and_twenty_kills(pacs: OrthancPacs, make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """The same over 40 studies and 20 kills."""
    node = make_node(configuration(pacs_port=pacs.dicom_port))
    assert kill_and_count(node, pacs, count=40, kills=20, seed=2) == Counter()
