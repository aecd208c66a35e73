"""The elements of an image that a training set needs. Whatever is not named here does not leave, also not what PS3.15 lets pass.

No free text is among them. Words count only as the standard defines them (PS3.3, C.7 and C.8), so a word that a site has typed
where a defined one belongs does not leave either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Computed Radiography, Digital X-Ray (For Presentation, For Processing), CT. No Secondary Capture: it is made of screens.
SOP_CLASSES = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.1.1.1",
        "1.2.840.10008.5.1.4.1.1.2",
    )
)

UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")
DATETIMES = ("AcquisitionDateTime",)
#: Of Type 2: there, and without a value, where the source has them.
EMPTIED = (
    *("AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "StudyID", "Manufacturer", "AcquisitionContextSequence"),
    *("PositionReferenceIndicator", "DetectorType", "PositionerType", "PatientOrientation", "Laterality", "ViewPosition"),
    *("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "StudyDate", "StudyTime", "PatientSex", "KVP", "BodyPartExamined"),
)

#: Counters of Type 2. A long one may be somebody's number.
COUNTERS = ("SeriesNumber", "InstanceNumber", "AcquisitionNumber")
MOST_DIGITS = 6

NUMBERS = (
    # geometry
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SliceLocation", "SpacingBetweenSlices", "PixelSpacing"),
    *("ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor", "ReconstructionDiameter", "DataCollectionDiameter"),
    *("GantryDetectorTilt", "TableHeight", "DistanceSourceToDetector", "DistanceSourceToPatient", "DetectorElementPhysicalSize"),
    *("FieldOfViewOrigin", "FieldOfViewDimensions", "FieldOfViewRotation", "DetectorElementSpacing", "DetectorActiveDimensions"),
    # exposure
    *("KVP", "ExposureTime", "XRayTubeCurrent", "Exposure", "ExposureInuAs", "ExposureTimeInuS", "XRayTubeCurrentInuA"),
    *(
        "GeneratorPower",
        "FocalSpots",
        "RelativeXRayExposure",
        "ExposureIndex",
        "TargetExposureIndex",
        "DeviationIndex",
        "Sensitivity",
    ),
    *("SpiralPitchFactor", "CTDIvol", "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth"),
    # pixels
    *("SamplesPerPixel", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelAspectRatio", "SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope", "PixelIntensityRelationshipSign"),
    "LossyImageCompressionRatio",
)

_YES_NO = frozenset(("YES", "NO"))
_SIDES = frozenset("RLUB")
WORDS: Mapping[str, frozenset[str]] = {
    "Modality": frozenset(("CR", "DX", "CT")),
    "ImageType": frozenset(
        (
            "ORIGINAL",
            "DERIVED",
            "PRIMARY",
            "SECONDARY",
            "AXIAL",
            "LOCALIZER",
            "POST_PROCESSED",
            "MIXED",
            "PROJECTION IMAGE",
            "VOLUME",
        )
    ),
    "PresentationIntentType": frozenset(("FOR PRESENTATION", "FOR PROCESSING")),
    "PatientSex": frozenset("MFO"),
    "PatientPosition": frozenset(("HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS")),
    "PatientOrientation": frozenset("ARLPHF") | {a + b for a in "ARLPHF" for b in "ARLPHF" if a != b},
    "BodyPartExamined": frozenset(("CHEST", "THORAX", "LUNG", "RIB", "TSPINE", "CLAVICLE", "STERNUM", "ABDOMEN", "CHESTABDOMEN")),
    "ViewPosition": frozenset(("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LATERAL", "LAT", "RAO", "LAO", "RPO", "LPO")),
    "Laterality": _SIDES,
    "ImageLaterality": _SIDES,
    "DetectorType": frozenset(("DIRECT", "SCINTILLATOR", "STORAGE", "FILM")),
    "DetectorConfiguration": frozenset(("AREA", "SLOT")),
    "PositionerType": frozenset(("CARM", "COLUMN", "MAMMOGRAPHIC", "PANORAMIC", "CEPHALOSTAT", "RIGID", "NONE")),
    "ExposureControlMode": frozenset(("MANUAL", "AUTOMATIC")),
    "ExposureStatus": frozenset(("NORMAL", "ABORTED")),
    "FieldOfViewShape": frozenset(("RECTANGLE", "ROUND", "HEXAGONAL")),
    "FieldOfViewHorizontalFlip": _YES_NO,
    "PixelSpacingCalibrationType": frozenset(("GEOMETRY", "FIDUCIAL")),
    "PhotometricInterpretation": frozenset(("MONOCHROME1", "MONOCHROME2")),
    "PresentationLUTShape": frozenset(("IDENTITY", "INVERSE")),
    "PixelIntensityRelationship": frozenset(("LIN", "LOG", "DISP")),
    "VOILUTFunction": frozenset(("LINEAR", "LINEAR_EXACT", "SIGMOID")),
    "RescaleType": frozenset(("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")),
    "ModalityLUTType": frozenset(("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")),
    "LossyImageCompression": frozenset(("00", "01")),
    "LossyImageCompressionMethod": frozenset(("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15")),
    "QualityControlImage": _YES_NO,
}

#: Coded concepts, as far as the table below has them.
CODES = ("AnatomicRegionSequence", "ViewCodeSequence")
#: SNOMED CT code, its older SNOMED RT spelling, and meaning: PS3.16, CID 4010 (views) and CID 4031 (regions) as far as of a chest.
_CONCEPTS = (
    ("816094009", "", "Chest"),
    ("51185008", "T-D3000", "Chest"),
    ("39607008", "T-28000", "Lung"),
    ("113197003", "T-11300", "Rib"),
    ("56873002", "T-11210", "Sternum"),
    ("51299004", "T-12310", "Clavicle"),
    ("416550000", "R-FAB55", "Chest and Abdomen"),
    ("416775004", "R-FAB56", "Chest, Abdomen and Pelvis"),
    ("417437006", "R-FAB52", "Neck and Chest"),
    ("416152001", "R-FAB53", "Neck, Chest and Abdomen"),
    ("399348003", "R-10206", "antero-posterior"),
    ("272479007", "R-10214", "postero-anterior"),
    ("272479007", "R-40888", "postero-anterior"),
    ("399173006", "R-10236", "left lateral"),
    ("399198007", "R-10232", "right lateral"),
    ("399067008", "R-102CD", "lateral"),
    ("399033003", "R-10202", "frontal"),
    ("399182000", "R-102C1", "oblique"),
)
MEANINGS: Mapping[tuple[str, str], str] = {
    (scheme, value): meaning
    for new, old, meaning in _CONCEPTS
    for scheme, value in (("SCT", new), ("SRT", old), ("SNM3", old))
    if value
}
#: Look-up tables, without what somebody has called them.
TABLES = ("ModalityLUTSequence", "VOILUTSequence")

TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
#: At most seven digits before the point: a longer one is a date, or somebody's number.
NUMBER = re.compile(r"[+-]?(\d{1,7}(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
