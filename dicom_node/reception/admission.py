"""May this calling AE open an association? Default: no. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Rejection(NamedTuple):
    """An A-ASSOCIATE-RJ: result, source and reason as in PS3.8, Table 9-21; ``text`` is for the log."""

    result: int
    source: int
    reason: int
    text: str


CALLING_AE_NOT_RECOGNIZED = Rejection(1, 1, 3, "calling AE title not recognized")
CALLING_ADDRESS_NOT_RECOGNIZED = Rejection(1, 1, 3, "calling AE title not recognized at this address")
CALLING_CERTIFICATE_NOT_RECOGNIZED = Rejection(1, 1, 3, "calling AE title not recognized with this certificate, or without one")
CALLED_AE_NOT_RECOGNIZED = Rejection(1, 1, 7, "called AE title not recognized")
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2, "local limit of open associations exceeded")
LIMIT_OF_PEER_EXCEEDED = Rejection(2, 3, 2, "this caller's limit of open associations exceeded")
CANNOT_BE_JUDGED = Rejection(2, 1, 1, "the caller cannot be judged")
TEMPORARY_CONGESTION = Rejection(2, 3, 1, "the node is stopping")


@dataclass(frozen=True)
class Peer:
    """A system that may send.

    ``addresses`` is where its name leads now; ``None``: any address. ``certificate_name`` is the name that its certificate must
    bear; ``None``: no certificate is asked for.
    """

    ae_title: str
    addresses: frozenset[str] | None
    certificate_name: str | None = None


def same_address(address: str) -> str:
    """Return an IP address in its one spelling: no zone, an IPv4 address also when it came in over IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def admit(
    calling_ae: str,
    called_ae: str,
    address: str,
    *,
    peers: Iterable[Peer],
    ae_titles: Iterable[str],
    open_associations: int,
    limit: int,
    open_of_caller: int = 0,
    limit_of_caller: int | None = None,
    stopping: bool = False,
    shown_names: frozenset[str] = frozenset(),
) -> Rejection | None:
    """Return ``None`` to accept the association, or the rejection to answer.

    ``shown_names`` are those of the certificate that the caller proved to have, in lower case; none without TLS.

    The caller is judged before anything else, so that a stranger learns neither our titles nor how busy we are.

    Notes
    -----
    AE titles are compared with case, without leading and trailing blanks (PS3.8, 9.3.2; PS3.5, VR AE).
    """
    caller = calling_ae.strip(" ")
    entries = [peer for peer in peers if peer.ae_title == caller]
    if not entries:
        return CALLING_AE_NOT_RECOGNIZED
    here = same_address(address)
    entries = [peer for peer in entries if peer.addresses is None or here in {same_address(known) for known in peer.addresses}]
    if not entries:
        return CALLING_ADDRESS_NOT_RECOGNIZED
    if not any(peer.certificate_name is None or peer.certificate_name.casefold() in shown_names for peer in entries):
        return CALLING_CERTIFICATE_NOT_RECOGNIZED
    if called_ae.strip(" ") not in ae_titles:
        return CALLED_AE_NOT_RECOGNIZED
    if stopping:
        return TEMPORARY_CONGESTION
    if open_associations >= limit:
        return LOCAL_LIMIT_EXCEEDED
    if limit_of_caller is not None and open_of_caller >= limit_of_caller:
        return LIMIT_OF_PEER_EXCEEDED
    return None
