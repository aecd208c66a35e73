"""What is negotiated: SOP classes and transfer syntaxes that this node accepts as an SCP.

The conformance statement's tables are compared with these. Names as in PS3.6, Annex A.
"""

from __future__ import annotations

VERIFICATION = "1.2.840.10008.1.1"

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: Storage SOP classes accepted without any configuration (PS3.4, B.5).
STORAGE_SOP_CLASSES: dict[str, str] = {
    _STORAGE + suffix: name
    for suffix, name in {
        # radiographs
        "1": "Computed Radiography Image Storage",
        "1.1": "Digital X-Ray Image Storage - For Presentation",
        "1.1.1": "Digital X-Ray Image Storage - For Processing",
        # CT
        "2": "CT Image Storage",
        "2.1": "Enhanced CT Image Storage",
        "2.2": "Legacy Converted Enhanced CT Image Storage",
        # pictures made afterwards
        "7": "Secondary Capture Image Storage",
        "7.1": "Multi-frame Single Bit Secondary Capture Image Storage",
        "7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
        "7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
        "7.4": "Multi-frame True Color Secondary Capture Image Storage",
        # what people and machines say about images
        "11.1": "Grayscale Softcopy Presentation State Storage",
        "11.2": "Color Softcopy Presentation State Storage",
        "11.3": "Pseudo-Color Softcopy Presentation State Storage",
        "11.4": "Blending Softcopy Presentation State Storage",
        "66.4": "Segmentation Storage",
        "88.11": "Basic Text SR Storage",
        "88.22": "Enhanced SR Storage",
        "88.33": "Comprehensive SR Storage",
        "88.34": "Comprehensive 3D SR Storage",
        "88.35": "Extensible SR Storage",
        "88.40": "Procedure Log Storage",
        "88.50": "Mammography CAD SR Storage",
        "88.59": "Key Object Selection Document Storage",
        "88.65": "Chest CAD SR Storage",
        "88.67": "X-Ray Radiation Dose SR Storage",
        "88.68": "Radiopharmaceutical Radiation Dose SR Storage",
        "88.69": "Colon CAD SR Storage",
        "88.70": "Implantation Plan SR Storage",
        "88.71": "Acquisition Context SR Storage",
        "88.72": "Simplified Adult Echo SR Storage",
        "88.73": "Patient Radiation Dose SR Storage",
        "88.74": "Planned Imaging Agent Administration SR Storage",
        "88.75": "Performed Imaging Agent Administration SR Storage",
        "88.76": "Enhanced X-Ray Radiation Dose SR Storage",
        "90.1": "Content Assessment Results Storage",
    }.items()
}

#: Every one is stored as received; nothing is decoded or transcoded on the way in. Video is not accepted: nothing here reads it.
TRANSFER_SYNTAXES: dict[str, str] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1.98": "Encapsulated Uncompressed Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless Image Compression",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Lossy (Near-Lossless) Image Compression",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.91": "JPEG 2000 Image Compression",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 Part 2 Multi-component Image Compression",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000 Image Compression",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}

#: Verification needs no more than these.
VERIFICATION_TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def accepted_sop_classes(extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the storage SOP classes to accept: the usual ones and those that the configuration adds, each once."""
    return tuple(dict.fromkeys((*STORAGE_SOP_CLASSES, *extra)))
