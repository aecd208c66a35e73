"""Chest radiograph with aligned attention: one frontal image of an adult; which findings, and where the network looked for each.

The way of an image is ``blocks/read_cxr.py``. The network is a vision transformer with one query a finding, trained so that a
query's attention lies where people marked the finding (H-EGL); its attention is the saliency map. The policy works on
``abnormal``; a finding that the data cannot support answers "not assessed".
"""

from __future__ import annotations

from functools import partial

from pipelines.blocks import read_cxr

NAME = "cxr_hegl"
NEEDS = ("cxr_hegl", "lungs_cxr")

Settings = read_cxr.RadiographSettings
select_images = read_cxr.select_images
warm = partial(read_cxr.warm, NEEDS)
run = partial(read_cxr.run, NAME, NEEDS)
