"""The name of a run."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.core.identifiers import derived_uid, is_tolerable_uid, is_uid, study_key
from dicom_node.core.run import run_key
from dicom_node.core.study import Instance

IMAGES = tuple(Instance("1.1", f"1.2.{n}", "1.3", "1.4", "1.5", f"sha{n}", "") for n in range(3))


def test_run_key_depends_on_inputs_not_on_their_order() -> None:
    """The same inputs in another order give the same key; any other input gives another."""
    base = run_key("1.4", IMAGES, "cxr_tb", ("b1", "b2"), "policy", 1)
    assert run_key("1.4", IMAGES[::-1], "cxr_tb", ("b2", "b1"), "policy", 1) == base
    others = {
        run_key("1.5", IMAGES, "cxr_tb", ("b1", "b2"), "policy", 1),
        run_key("1.4", IMAGES[:2], "cxr_tb", ("b1", "b2"), "policy", 1),
        run_key("1.4", (*IMAGES[:2], replace(IMAGES[2], digest="other")), "cxr_tb", ("b1", "b2"), "policy", 1),
        run_key("1.4", IMAGES, "ct_ntm", ("b1", "b2"), "policy", 1),
        run_key("1.4", IMAGES, "cxr_tb", ("b1",), "policy", 1),
        run_key("1.4", IMAGES, "cxr_tb", ("b1", "b2"), "other", 1),
        run_key("1.4", IMAGES, "cxr_tb", ("b1", "b2"), "policy", 2),
    }
    others.add(run_key("1.4", IMAGES, "cxr_tb", ("b1", "b2"), "policy", 1, marked=(("1.2.1", None),)))
    others.add(run_key("1.4", IMAGES, "cxr_tb", ("b1", "b2"), "policy", 1, marked=(("1.2.1", 2),)))
    assert base not in others
    assert len(others) == 9
    assert run_key("1.4", IMAGES, "cxr_tb", ("b1", "b2"), "policy", 1, marked=()) == base


def test_derived_uids_are_valid_and_repeat() -> None:
    """A derived UID is a UID of at most 64 characters and depends on its parts alone."""
    uid = derived_uid("a", "b")
    assert is_uid(uid)
    assert uid == derived_uid("a", "b") != derived_uid("a", "c")


def test_uid_syntax() -> None:
    """PS3.5, 9.1: digits and dots, no leading zero, at most 64 characters."""
    assert is_uid("1.2.840.10008.1.1")
    assert not any(map(is_uid, ("", "1", "1..2", "1.02", "1.2.", "../1.2", "1.2/../3", "1." + "2" * 63, "1.2\n")))


def test_received_uids_with_leading_zeros_are_tolerated() -> None:
    """Old devices write leading zeros; anything that is no number between dots is still refused."""
    assert is_tolerable_uid("1.2.0840.1")
    assert not any(map(is_tolerable_uid, ("", "1", "1..2", "1.2.", "../1.2", "1.2/../3", "1." + "2" * 63, "1.2\n", "1.2 ")))


def test_study_key_hides_the_uid() -> None:
    """The key is short, safe in a log and a file name, and tells nothing of the UID."""
    key = study_key("1.2.840.1")
    assert key.startswith("st_")
    assert len(key) == 13
    assert key[3:].isalnum()
    assert "840" not in key
