"""Other services at reception's door: a room that speaks DIMSE (storage commitment) hands in what it accepts and how it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Implicit VR little endian first: it is what every SCU of these services proposes.
TRANSFER_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


@dataclass(frozen=True)
class Service:
    """A DIMSE service.

    Attributes
    ----------
    abstract_syntaxes
        SOP classes that are accepted.
    handlers
        pynetdicom's ``(event, handler)``; of an intervention event (N-ACTION, ...) there is one handler in all services together.
    scu_role, scp_role
        Roles that this node takes when the requestor asks for role selection (PS3.7, D.3.3.4), as the peer's item names them: with
        ``scp_role`` the requestor may be the SCP and we its SCU.
    """

    abstract_syntaxes: tuple[str, ...]
    handlers: list[tuple[Any, Callable[[Any], Any]]] = field(default_factory=list)
    scu_role: bool = True
    scp_role: bool = True
