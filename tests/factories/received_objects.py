"""Radiographs as a PACS forwards them: small, made up, and changed in one place where a test asks for it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLosslessSV1

from dicom_node.core.identifiers import derived_uid
from dicom_node.imaging.encoded import file_meta_end

CR = "1.2.840.10008.5.1.4.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"


def radiograph(image: str = "pa", study: str = "study", **changes: Any) -> Dataset:
    """Return a small CR image. ``image`` and ``study`` name the UIDs; ``changes`` sets elements, ``None`` removes them."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CR
    ds.SOPInstanceUID = derived_uid("test", study, image)
    ds.StudyInstanceUID = derived_uid("test", study)
    ds.SeriesInstanceUID = derived_uid("test", study, "series")
    ds.Modality = "CR"
    ds.PatientName = "DOE^JOHN"
    ds.PatientID = "PID-1"
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "M"
    ds.AccessionNumber = "ACC-1"
    ds.StudyDate = "20260101"
    ds.StudyTime = "101500"
    ds.InstanceNumber = "1"
    ds.ViewPosition = "PA"
    ds.BodyPartExamined = "CHEST"
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = 16
    ds.BitsStored = 12
    ds.HighBit = 11
    ds.PixelRepresentation = 0
    ds.PixelData = (np.arange(256, dtype="<u2") * 16).tobytes()
    for keyword, value in changes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def other_pixels() -> bytes:
    """Return pixel data of the radiograph's size that shows something else."""
    return (np.arange(256, dtype="<u2")[::-1] * 16).tobytes()


def recompressed(ds: Dataset, transfer_syntax_uid: str) -> Dataset:
    """Return the same image in a lossless compression, as an archive would send it."""
    copy = pydicom.dcmread(io.BytesIO(part10(ds)))
    if transfer_syntax_uid == JPEGLosslessSV1:  # pydicom has no encoder for it, GDCM has
        return _jpeg_lossless(copy)
    copy.compress(UID(transfer_syntax_uid), generate_instance_uid=False)
    return copy


def _jpeg_lossless(ds: Dataset) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder, "source.dcm")), str(Path(folder, "target.dcm"))
        pydicom.dcmwrite(source, ds)
        reader = gdcm.ImageReader()
        reader.SetFileName(source)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(target)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        twin = pydicom.dcmread(target)
        ds.PixelData, ds.file_meta.TransferSyntaxUID = twin.PixelData, twin.file_meta.TransferSyntaxUID
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    return ds


def encoded(ds: Dataset) -> bytes:
    """Return the data set's bytes, without file meta, in the transfer syntax that its file meta names."""
    syntax = UID(ds.file_meta.TransferSyntaxUID)
    stream = pydicom.filebase.DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(stream, ds)
    return bytes(stream.getvalue())


def part10(ds: Dataset) -> bytes:
    """Return the object as a Part 10 file."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def dataset_bytes(path: Path) -> bytes:
    """Return the bytes of a Part 10 file after its file meta."""
    content = path.read_bytes()
    return content[file_meta_end(content)[0] :]
