"""Pixel data of a made object in another transfer syntax: what scanners and archives send, for tests and demonstrations."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gdcm
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_BY_PYDICOM = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
_BY_GDCM = {JPEGLossless: "JPEGLosslessProcess14", JPEGLosslessSV1: "JPEGLosslessProcess14_1"}


def encode(ds: Dataset, transfer_syntax: UID) -> Dataset:
    """Encode an uncompressed object without loss, in place, and return it.

    Raises
    ------
    ValueError
        A transfer syntax that nothing here can write; the message lists those that can be.
    """
    if transfer_syntax in _PLAIN:
        ds.file_meta.TransferSyntaxUID = transfer_syntax
    elif transfer_syntax in _BY_PYDICOM:
        ds.compress(transfer_syntax, generate_instance_uid=False)
    elif transfer_syntax in _BY_GDCM:
        _by_gdcm(ds, transfer_syntax)
    else:
        known = ", ".join(uid.name for uid in (*_PLAIN, *_BY_PYDICOM, *_BY_GDCM))
        raise ValueError(f"{transfer_syntax.name} cannot be written here. Known: {known}")
    return ds


def _by_gdcm(ds: Dataset, transfer_syntax: UID) -> None:
    """pydicom has no encoder for JPEG lossless; GDCM reads and writes files only."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        dcmwrite(before, ds, enforce_file_format=True)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(before))
        reader.Read()
        wanted = getattr(gdcm.TransferSyntax, _BY_GDCM[transfer_syntax])
        change.SetTransferSyntax(gdcm.TransferSyntax(wanted))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"GDCM could not write {transfer_syntax.name}")
        writer.SetFileName(str(after))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        frames = list(generate_frames(dcmread(after).PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))))
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.add_new("PixelData", "OB", encapsulate(frames))
    ds["PixelData"].is_undefined_length = True
