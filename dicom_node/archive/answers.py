"""What an archive said, cleaned of what archives say wrongly. Pure.

A count is a claim: archives answer it as text, as zero, as nothing, or wrong. What cannot be a count is ``None``: not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_node.core.errors import PeerError
from dicom_node.core.phi import Phi

#: Nobody has a series of more objects; a larger number is nonsense.
MOST_INSTANCES = 1_000_000


@dataclass(frozen=True)
class SeriesCount:
    """What the archive says of one series."""

    modality: str
    count: int | None  # Number of Series Related Instances; None: not said, or not a number
    description: str = ""  # Series Description: for conditions of rules, never kept
    body_part: str = ""


@dataclass(frozen=True)
class CountAnswer:
    """What the archive holds of a study, by Series Instance UID. Empty: it does not know the study."""

    series: Mapping[str, SeriesCount] = field(default_factory=dict)

    @property
    def instances(self) -> int | None:
        """All of them; ``None`` when the archive does not say it of every series."""
        counts = [one.count for one in self.series.values()]
        return None if None in counts else sum(count or 0 for count in counts)


@dataclass(frozen=True)
class PatientAnswer:
    """Whose study it is in the archive now. Empty: not said."""

    patient_id: Phi = Phi("")
    issuer: Phi = Phi("")
    accession_number: Phi = Phi("")
    found: bool = False


@dataclass(frozen=True)
class Fetched:
    """What came of fetching. ``completed`` and ``failed`` are the archive's own numbers where it says them."""

    completed: int
    failed: int = 0


class ArchiveBusy(PeerError):
    """This node has asked the archive as often as it may for now (``max_queries_per_minute``)."""


class ArchiveNonsense(PeerError):
    """The archive answered something that cannot be an answer."""


def plausible_count(text: str) -> int | None:
    """Return a count as archives write it (VR IS, padded, sometimes with decimals), ``None`` where it is none."""
    try:
        number = float(text.strip().rstrip("\0"))
    except ValueError:
        return None
    return int(number) if number == int(number) and 0 <= number <= MOST_INSTANCES else None
