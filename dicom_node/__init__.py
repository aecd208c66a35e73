"""The inference node beside a PACS: receives studies, runs pipelines on them, returns the answers. Start at ``journey.py``."""

from dicom_node.version import VERSION as __version__

__all__ = ["__version__"]
