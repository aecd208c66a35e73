"""The well-formed objects that the mutators start from. Each case gets UIDs of its own, in the same number of bytes."""

from __future__ import annotations

import functools
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from models.phantoms.dicom import as_radiograph
from tests.factories.phantom_dicom import picture
from tests.factories.received_objects import encoded, radiograph, recompressed

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, JPEG_LOSSLESS, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"
#: Placeholders: 40 characters each, of which the last twelve are the case's number.
INSTANCE, STUDY = b"2.25.1111111111111111111111" + b"1" * 13, b"2.25.2222222222222222222222" + b"2" * 13


class Specimen(NamedTuple):
    """One object as a C-STORE brings it."""

    sop_class_uid: str
    transfer_syntax_uid: str
    data: bytes

    def numbered(self, number: int) -> Specimen:
        """Return it with UIDs of its own."""
        digits = b"%012d" % number
        data = self.data.replace(INSTANCE, instance_uid(number).encode()).replace(STUDY, STUDY[:-12] + digits)
        return self._replace(data=data)


def instance_uid(number: int) -> str:
    """Return the SOP Instance UID of a case."""
    return (INSTANCE[:-12] + b"%012d" % number).decode()


def _named(ds: Dataset, transfer_syntax_uid: str) -> Specimen:
    ds.SOPInstanceUID, ds.StudyInstanceUID = INSTANCE.decode(), STUDY.decode()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    return Specimen(str(ds.SOPClassUID), transfer_syntax_uid, encoded(ds))


def _report() -> Dataset:
    ds = radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", PixelData=None, Rows=None, Columns=None)
    item, evidence, series, study = Dataset(), Dataset(), Dataset(), Dataset()
    evidence.ReferencedSOPClassUID, evidence.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "2.25.7"
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "2.25.8", Sequence([evidence])
    study.StudyInstanceUID, study.ReferencedSeriesSequence = STUDY.decode(), Sequence([series])
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    item.ValueType, item.TextValue = "TEXT", "Für Grün"
    ds.ContentSequence = Sequence([item])
    return ds


def _long_header() -> Dataset:
    """A header that goes on behind what reception keeps in memory."""
    ds = radiograph()
    ds.add_new(0x00091001, "UT", "x" * 400_000)
    return ds


@functools.cache
def specimens() -> tuple[Specimen, ...]:
    """Return one object of each kind."""
    small = radiograph()
    phantom = as_radiograph(picture(side=64), seed="fuzz")
    native = [_named(small, syntax) for syntax in (EXPLICIT, IMPLICIT, BIG)]
    plain = native[0]
    deflated = plain._replace(transfer_syntax_uid=DEFLATED)  # ``data_sets`` packs it, after or before the damage
    return (
        *native,
        deflated,
        _named(recompressed(radiograph(), JPEG_LOSSLESS), JPEG_LOSSLESS),
        _named(recompressed(radiograph(), RLE), RLE),
        _named(phantom, EXPLICIT),
        _named(_report(), EXPLICIT),
        _named(_report(), IMPLICIT),
        _named(_long_header(), EXPLICIT),
    )


def undamaged(number: int) -> Specimen:
    """Return a good object with UIDs of its own: what must still be taken afterwards."""
    return specimens()[0].numbered(number)
