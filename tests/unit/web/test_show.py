"""Pages say when something was by the clocks of the site."""

from __future__ import annotations

import datetime as dt

import pytest

from dicom_node.web.show import Show

AT = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


@pytest.mark.parametrize(
    ("offset", "shown"),
    [(dt.timedelta(0), "2026-11-18 11:06:40 UTC"), (dt.timedelta(hours=5, minutes=30), "2026-11-18 16:36:40 UTC+05:30")],
)
def test_moments_are_shown_in_the_zone_of_the_site(offset: dt.timedelta, shown: str) -> None:
    show = Show("Hospital", dt.timezone(offset))
    assert show._templates.env.from_string("{{ at | clock }}").render(at=AT) == shown
    assert show._templates.env.from_string("{{ at | clock }}").render(at=None) == ""
