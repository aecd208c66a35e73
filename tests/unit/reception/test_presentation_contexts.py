"""What is negotiated."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from dicom_node.reception import presentation_contexts as offered


@pytest.mark.parametrize(("uid", "name"), [*offered.STORAGE_SOP_CLASSES.items(), *offered.TRANSFER_SYNTAXES.items()])
def test_every_uid_carries_the_name_that_the_standard_gives_it(uid: str, name: str) -> None:
    def plain(text: str) -> str:
        return text.split(":")[0].replace("-", " ").replace("  ", " ").casefold()

    assert plain(UID(uid).name) == plain(name)


def test_no_video_is_accepted() -> None:
    assert not [uid for uid in offered.TRANSFER_SYNTAXES if "MPEG" in UID(uid).name or "HEVC" in UID(uid).name]


def test_configured_classes_are_added_once() -> None:
    classes = offered.accepted_sop_classes(("1.2.3", "1.2.840.10008.5.1.4.1.1.1", "1.2.3"))
    assert classes.count("1.2.3") == 1
    assert classes.count("1.2.840.10008.5.1.4.1.1.1") == 1
    assert set(offered.STORAGE_SOP_CLASSES) < set(classes)
