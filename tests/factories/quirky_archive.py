"""An archive on loopback that answers C-FIND and C-MOVE as it is told to: wrong counts, no end, refusals, silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
Answers = Iterator[tuple[int, Dataset | None]]


@dataclass
class QuirkyArchive:
    """What it has, how it answers, and what it was asked.

    ``series``: Series Instance UID -> (modality, SOP Instance UIDs). ``quirk`` changes every answer to a query:

    ``lies``: says this number of objects instead; ``text``: writes the number so; ``no_count``: leaves it out;
    ``endless``: pending for ever; ``slow``: waits before the first answer; ``refuses``: 0xA700;
    ``elsewhere``: answers another study; ``no_images``: refuses IMAGE level (0xA900); ``aborts``.
    """

    series: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    studies: dict[str, dict[str, tuple[str, list[str]]]] = field(default_factory=dict)  # more than one
    study_uid: str = ""
    patient: dict[str, str] = field(default_factory=dict)
    quirk: str = ""
    lie: int | str = 0
    port: int = 0
    move: Callable[[Dataset], int] | None = None  # called with each C-MOVE's identifier; returns the final status
    queries: list[Dataset] = field(default_factory=list)
    moves: list[tuple[str, Dataset]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def on_find(self, event: Any) -> Answers:
        query = event.identifier
        self.queries.append(query)
        if self.quirk == "slow":
            self.stopped.wait(5)
        if self.quirk == "aborts":
            event.assoc.abort()
            return
        if self.quirk == "refuses":
            yield 0xA700, None
            return
        if self.quirk == "no_images" and query.QueryRetrieveLevel == "IMAGE":
            yield 0xA900, None
            return
        answers = list(self._answers(query))
        while self.quirk == "endless" and not self.stopped.is_set():
            for answer in answers:
                yield 0xFF00, answer
            time.sleep(0.01)
        for answer in answers:
            yield 0xFF00, answer

    def _answers(self, query: Dataset) -> Iterator[Dataset]:
        study_uid = "1.2.3.999" if self.quirk == "elsewhere" else query.StudyInstanceUID
        here = {**self.studies, self.study_uid: self.series}.get(query.StudyInstanceUID, {})
        if not here and self.quirk != "elsewhere":
            return
        if query.QueryRetrieveLevel == "STUDY":
            yield self._answer(query, StudyInstanceUID=study_uid, **self.patient)
        for series_uid, (modality, uids) in (here or self.series).items():
            if query.QueryRetrieveLevel == "SERIES":
                count = {"NumberOfSeriesRelatedInstances": str(len(uids))}
                if self.quirk == "lies":
                    count = {"NumberOfSeriesRelatedInstances": str(self.lie)}
                if self.quirk == "no_count":
                    count = {}
                yield self._answer(query, StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, Modality=modality, **count)
            if query.QueryRetrieveLevel == "IMAGE" and query.get("SeriesInstanceUID", series_uid) in ("", series_uid):
                asked = query.get("SOPInstanceUID") or uids
                asked = [asked] if isinstance(asked, str) else list(asked)
                for uid in uids:
                    if uid in asked:
                        yield self._answer(query, StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPInstanceUID=uid)

    @staticmethod
    def _answer(query: Dataset, **values: str) -> Dataset:
        answer = Dataset()
        answer.QueryRetrieveLevel = query.QueryRetrieveLevel
        for keyword, value in values.items():
            setattr(answer, keyword, value)
        return answer

    def on_move(self, event: Any) -> Iterator[Any]:
        destination = event.move_destination
        self.moves.append((destination, event.identifier))
        yield None, None  # no address: pynetdicom answers 0xA801 then
        yield 0


@contextmanager
def quirky_archive(quirk: str = "", *, lie: int | str = 0, known_aes: tuple[str, ...] = ()) -> Iterator[QuirkyArchive]:
    """Run one."""
    archive = QuirkyArchive(quirk=quirk, lie=lie)
    entity = AE(ae_title="ARCHIVE")
    if known_aes:
        entity.require_calling_aet = list(known_aes)
    entity.add_supported_context(FIND)
    entity.add_supported_context(MOVE)
    entity.network_timeout = entity.dimse_timeout = 30
    handlers = [(evt.EVT_C_FIND, archive.on_find), (evt.EVT_C_MOVE, archive.on_move)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    archive.port = server.socket.getsockname()[1]
    try:
        yield archive
    finally:
        archive.stopped.set()
        server.shutdown()
