"""Chest radiograph with aligned attention: one frontal image of an adult; which findings, and where the network looked for each.

The way of an image is ``blocks/read_cxr.py``. The network is a vision transformer with one query a finding, trained so that a
query's attention lies where people marked the finding (H-EGL); its attention is the saliency map. The policy works on
``abnormal``; a finding that the data cannot support answers "not assessed".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dicom_node.core.findings import Findings
from dicom_node.core.run import Selection
from dicom_node.core.study import Study
from pipelines.blocks import read_cxr

NEEDS = ("cxr_hegl", "lungs_cxr")
NAME = "cxr_hegl"


class Settings(read_cxr.RadiographSettings):
    """What IT can set for this pipeline."""


def select_images(study: Study, settings: Settings) -> Selection:
    """Say by header alone which radiograph would be read, and why the others are not."""
    return read_cxr.select_images(study, settings)


def warm(bundles: Mapping[str, Path], settings: Settings) -> tuple[str, ...]:
    """Load the networks before the first study comes; return the devices that they run on.

    Raises
    ------
    models.session.DeviceUnavailable
        The GPU was asked for and cannot be used.
    """
    return read_cxr.warm(NEEDS, bundles, settings)


def run(study: Study, selection: Selection, bundles: Mapping[str, Path], policy: str, settings: Settings) -> Findings:
    """Read the selected image, decide, and explain.

    Raises
    ------
    models.bundle.BundleError
        A bundle is damaged or has no such policy. A refusal is returned, never raised.
    """
    return read_cxr.run(NAME, NEEDS, study, selection, bundles, policy, settings)
