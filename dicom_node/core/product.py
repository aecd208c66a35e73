"""What this product calls itself in everything it makes."""

from dicom_node.core.identifiers import derived_uid
from dicom_node.version import VERSION

#: Manufacturer's Model Name of every object we make: by it our own results are known when a PACS sends them back.
PRODUCT_NAME = "dicom-node"

#: Implementation Class UID and Version Name of our associations and Part 10 files (PS3.7 D.3.3.2; at most 16 characters).
IMPLEMENTATION_CLASS_UID = derived_uid("implementation")
IMPLEMENTATION_VERSION_NAME = ("DICOMNODE_" + VERSION.replace(".", "_"))[:16]

DISCLAIMER = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
UNVALIDATED = "UNVALIDATED MODEL"
SYNTHETIC = "SYNTHETIC: MODEL TRAINED ON ARTIFICIAL IMAGES"
