"""Figures as JSON that is the same text for the same result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def as_json(value: Any) -> str:
    """Return stable JSON text: sorted keys, floats to six decimals (what differs below is not a result)."""
    return json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """Return only JSON values, floats to six decimals; a float that is no number becomes None."""
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
