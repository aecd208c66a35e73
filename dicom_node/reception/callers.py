"""Who is connected: each caller judged when it asks, counted while it stays, and told of in the diary when it is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE

from dicom_node import log
from dicom_node.network.certificates import shown_names
from dicom_node.reception import negotiation
from dicom_node.reception.admission import CANNOT_BE_JUDGED, Rejection, admit
from dicom_node.reception.diary import RELEASED, Diary, Entry
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.reception.side_door import SideDoor


class Callers:
    """The associations that are open. Its methods ``on_...`` are handlers of pynetdicom's events, called in many threads."""

    def __init__(self, settings: ReceptionSettings, diary: Diary, side_doors: Sequence[SideDoor] = ()) -> None:
        self._settings = settings
        self._side_doors = {title: door for door in side_doors for title in door.ae_titles}
        self._diary = diary
        self._addresses = negotiation.Addresses()
        self.stopping = False
        self._lock = threading.Lock()
        self._entries: dict[Any, Entry] = {}  # admitted associations until they are over: what the limits count

    @property
    def count(self) -> int:
        """How many associations are open."""
        with self._lock:
            return len(self._living())

    # --- who comes -----------------------------------------------------------------------------------------------------

    def on_requested(self, event: Any) -> None:
        """Turn the caller away, or let pynetdicom negotiate; a caller that cannot be judged is turned away."""
        try:
            self._judge(event.assoc)
        except Exception as error:  # the library would go on and accept
            log.event("association.rejected", reason="the caller cannot be judged", error=type(error).__name__)
            self._send_reject(event.assoc, CANNOT_BE_JUDGED)

    def _judge(self, association: Any) -> None:
        entry = self._new_entry(association)
        calling, called = entry.calling_ae, entry.called_ae
        known = self._settings.peers if entry.door is None else entry.door.callers
        peers = [self._addresses.located(peer) for peer in known if peer.ae_title == calling]
        with self._lock:  # counted and admitted in one go: two callers do not both take the last place
            living = self._living()
            rejection = admit(
                calling,
                called,
                entry.address,
                peers=peers,
                ae_titles=self._settings.ae_titles if entry.door is None else entry.door.ae_titles,
                open_associations=len(living),
                limit=self._settings.max_associations,
                open_of_caller=sum(other.calling_ae == calling for other in living.values()),
                limit_of_caller=min(self._settings.max_associations_per_peer, self._settings.max_associations),
                stopping=self.stopping,
                shown_names=shown_names(_connection_of(association)),
            )
            if rejection is None:
                self._entries[association] = entry
                return
        self._reject(association, entry, rejection)

    def _reject(self, association: Any, entry: Entry, rejection: Rejection) -> None:
        entry.outcome, entry.reason, entry.ended_utc = "rejected", rejection.text, time.time()
        self._diary.note(entry)
        log.event(
            "association.rejected",
            calling_ae=entry.calling_ae,
            called_ae=entry.called_ae,
            address=entry.address,
            reason=rejection.text,
        )
        self._send_reject(association, rejection)

    def _send_reject(self, association: Any, rejection: Rejection) -> None:
        association.acse.send_reject(rejection.result, rejection.source, rejection.reason)
        association.is_rejected = True
        association.kill()

    def turned_away(self, address: str, why: str) -> None:
        now = time.time()
        self._diary.note(Entry("", "", address, now, outcome="rejected", reason=why, ended_utc=now))

    def _living(self) -> dict[Any, Entry]:
        """Return admitted associations that are not over; one whose thread ended without a word is forgotten here."""
        for association in [one for one in self._entries if not one.is_alive()]:
            self._close(association)
        return self._entries

    def on_accepted(self, event: Any) -> None:
        entry = self._entries.get(event.assoc)
        if entry is not None:
            entry.contexts = negotiation.outcome_of_contexts(event.assoc)
            self._diary.note(entry)

    # --- how it ends ---------------------------------------------------------------------------------------------------

    def on_end_of_peer(self, event: Any) -> None:
        """What the peer, or the network, says about the end."""
        primitive = event.primitive
        if isinstance(primitive, A_ABORT):
            self._note_end(event.assoc, "peer aborted")
        elif isinstance(primitive, A_P_ABORT):
            self._note_end(event.assoc, "connection lost")
        elif isinstance(primitive, A_RELEASE):
            self._note_end(event.assoc, RELEASED)

    def on_released(self, event: Any) -> None:
        self._note_end(event.assoc, RELEASED)
        self.over(event.assoc)  # the place is free at once, not when the peer has closed its side

    def on_aborted(self, event: Any) -> None:
        """After an abort that nobody explained it was the idle timer."""
        self._note_end(event.assoc, f"node aborted: nothing came for {self._settings.idle_seconds:g} s")
        self.over(event.assoc)

    def _note_end(self, association: Any, how: str) -> None:
        entry = self._entries.get(association)
        if entry is not None:
            entry.ends(how)

    def node_ends(self, association: Any, why: str) -> None:
        """Note why this side ends an association; said before the abort."""
        self._note_end(association, f"node aborted: {why}")

    def over(self, association: Any) -> None:
        """Give the place back and close the diary's entry. May be called twice."""
        with self._lock:
            self._close(association)

    def _close(self, association: Any) -> None:
        entry = self._entries.pop(association, None)
        if entry is None:
            return
        entry.ends("connection lost")
        entry.ended_utc = time.time()
        self._diary.note(entry)
        log.event(
            "association.ended",
            calling_ae=entry.calling_ae,
            called_ae=entry.called_ae,
            address=entry.address,
            count=entry.objects,
            size=entry.bytes,
            seconds=round(entry.ended_utc - entry.started_utc, 3),
            reason=entry.ended_by,
            outcome=f"{entry.refused} refused",
        )

    def entry(self, association: Any) -> Entry:
        """Return the association's entry; of one that is being closed at this moment, one that nobody reads."""
        return self._entries.get(association) or self._new_entry(association)

    def _new_entry(self, association: Any) -> Entry:
        entry = _entry_of(association)
        entry.door = self._side_doors.get(entry.called_ae)  # known to the very end: no object may go to the other side
        return entry


def _connection_of(association: Any) -> Any:
    return getattr(association.dul.socket, "socket", None)


def _entry_of(association: Any) -> Entry:
    request = association.requestor.primitive
    names = (
        str(association.requestor.implementation_version_name or ""),
        str(association.requestor.implementation_class_uid or ""),
    )
    return Entry(
        str(request.calling_ae_title).strip(),
        str(request.called_ae_title).strip(),
        str(association.requestor.address),
        time.time(),
        tls=negotiation.tls_of(_connection_of(association)),
        implementation=" ".join(name for name in names if name),
    )
