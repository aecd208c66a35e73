"""Every named step is there: a step that was renamed is noticed here, before its faults silently stop happening."""

from __future__ import annotations

import functools
import importlib

import pytest

from tests.faults.site.fault_points import POINTS


@pytest.mark.parametrize("name", [name for name, point in POINTS.items() if point.kind == "call"])
def test_the_function_of_a_named_step_exists(name: str) -> None:
    """Module and function, as the wrapper looks for them: where the function is made, not where it is only named."""
    module, _, trail = POINTS[name].where.partition(":")
    found = functools.reduce(getattr, trail.split("."), importlib.import_module(module))
    assert callable(found)
    assert found.__module__ == module
