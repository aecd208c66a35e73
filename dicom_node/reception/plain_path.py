"""pynetdicom as it is, for ``path: plain``, with the end to its waits that this node's own associations have."""

from __future__ import annotations

from functools import partial

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler

from dicom_node.network.requestor import PduSocket, end


class PlainHandler(RequestHandler):  # type: ignore[misc]
    """Makes associations as the library does; a caller who sends byte by byte, or reads nothing, cannot hold their threads."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.daemon = True
        association.dul.socket.__class__ = PduSocket  # the library makes the socket itself, and its first event with it
        association.kill = partial(end, association)
        return association
