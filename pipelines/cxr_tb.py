"""Chest radiograph screening: one frontal image of an adult; is it abnormal, and where.

The way of an image is ``blocks/read_cxr.py``. Tuberculosis is the purpose; a class that the data cannot support answers "not
assessed", and the policy then works on ``abnormal``. The maps are class activation maps, closed forms in the graph.
"""

from __future__ import annotations

from functools import partial

from pipelines.blocks import read_cxr

NAME = "cxr_tb"
NEEDS = ("cxr_tb", "lungs_cxr")

Settings = read_cxr.RadiographSettings
select_images = read_cxr.select_images
warm = partial(read_cxr.warm, NEEDS)
run = partial(read_cxr.run, NAME, NEEDS)
