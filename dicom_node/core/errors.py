"""The exception tree.

::

    NodeError
    ├── ConfigError            file, line, cure
    ├── UsageError             a command was called with arguments that cannot be meant
    ├── PeerError              a destination or source did not do what was asked
    │   ├── AssociationRejected
    │   ├── DimseFailure       carries the status
    │   ├── PeerTimeout
    │   │   └── PeerUnreachable   no connection: nothing was sent
    │   ├── TlsFailure         no encrypted connection, with the reason as a code
    │   ├── Hl7Nack
    │   └── HttpFailure
    ├── StudyError             the images cannot be used
    │   ├── UnsupportedInstance
    │   ├── PixelDataError
    │   └── InconsistentSeries
    ├── BundleError            a model bundle cannot be used
    │   ├── ChecksumMismatch
    │   ├── ParityExceeded
    │   └── UnknownOperatingPoint
    ├── PipelineError          a pipeline crashed or ran out of time
    └── StoreError             the disk or the database

Every class says whether trying again can help: ``temporary``. The queue asks nothing else.
An abstention ("lateral view: this pipeline reads PA and AP") is a finding, not an error.
"""

from __future__ import annotations

from typing import ClassVar


class NodeError(Exception):
    """Anything this node raises on purpose. Messages name the thing and the cure, never a patient."""

    temporary: ClassVar[bool] = False


class ConfigError(NodeError):
    """The configuration cannot be used; the message holds one ``file:line:column path: what, and the cure`` a line."""


class UsageError(NodeError):
    """A command was called with arguments that cannot be meant (exit status 2)."""


class PeerError(NodeError):
    """A peer did not do what was asked."""

    temporary = True


class AssociationRejected(PeerError):
    """The peer rejected the association (PS3.8, 9.3.4); permanent when it says so and does not know us."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary  # type: ignore[misc]  # decided by the peer's answer, not by the class


class DimseFailure(PeerError):
    """The peer answered a DIMSE status that is not success.

    Parameters
    ----------
    status
        The status (PS3.7 Annex C, PS3.4 Annex B), e.g. ``0xA700``.
    """

    def __init__(self, message: str, *, status: int, temporary: bool) -> None:
        super().__init__(message)
        self.status = status
        self.temporary = temporary  # type: ignore[misc]


class PeerTimeout(PeerError):
    """The peer did not answer in time, or could not be reached."""


class TlsFailure(PeerError):
    """No encrypted connection came about, or our own files for it cannot be used. Tried again: certificates get renewed.

    Parameters
    ----------
    code
        Why: ``no_certificate``, ``unknown_ca``, ``expired``, ``protocol_version``, ``plaintext``, ``refused_by_peer``,
        ``own_files`` and others of ``dicom_node/network/tls_words.py``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PeerUnreachable(PeerTimeout):
    """No connection came about: the peer has nothing of what was to be sent."""


class Hl7Nack(PeerError):
    """The peer answered AE, AR, CE or CR (HL7 v2.5.1, 2.9)."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
        self.temporary = code in ("AE", "CE")  # type: ignore[misc]


class HttpFailure(PeerError):
    """The peer answered an HTTP status outside 2xx."""

    def __init__(self, message: str, *, status: int, temporary: bool) -> None:
        super().__init__(message)
        self.status = status
        self.temporary = temporary  # type: ignore[misc]


class StudyError(NodeError):
    """The images cannot be used. ``code`` is the key of a refusal reason in ``core/abstentions.py``."""

    code: ClassVar[str] = "unreadable"


class UnsupportedInstance(StudyError):
    """An object of a kind, or in a transfer syntax, that cannot be read here."""

    code = "unsupported_object"


class PixelDataError(StudyError):
    """Pixel data is missing, truncated or cannot be decoded."""

    code = "unreadable_pixels"


class InconsistentSeries(StudyError):
    """The slices of a series do not fit together."""

    code = "incomplete_series"


class BundleError(NodeError):
    """A model bundle cannot be used."""


class ChecksumMismatch(BundleError):
    """A file of the bundle is not the file that was approved."""


class ParityExceeded(BundleError):
    """The exported graph does not compute what the trained network computes."""


class UnknownOperatingPoint(BundleError):
    """The bundle has no policy of this name."""


class PipelineError(NodeError):
    """A pipeline crashed or ran out of time."""

    temporary = True


class StoreError(NodeError):
    """The disk or the database failed."""

    temporary = True


class DeviceError(NodeError):
    """The GPU that was asked for cannot be used: runs wait, nothing is run on the CPU instead."""

    temporary = True
