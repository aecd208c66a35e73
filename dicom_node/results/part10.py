"""A built object as the bytes that leave the node."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from dicom_node.results.context import ResultContext


def as_artifact(context: ResultContext, role: str, dataset: Dataset) -> Artifact:
    """Encode a stamped object and remember it for the outputs that refer to it.

    Explicit VR Little Endian, uncompressed: every archive reads it. The file meta names this node's implementation (PS3.10, 7.1).
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():  # identity goes back as it came, even where it breaks its VR
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    context.built[role] = dataset
    return Artifact(
        run_key=context.run.run_key,
        role=role,
        media_type=DICOM,
        identifier=str(dataset.SOPInstanceUID),
        data=buffer.getvalue(),
        sop_class_uid=str(dataset.SOPClassUID),
        refusal=context.findings.abstention is not None,
    )
