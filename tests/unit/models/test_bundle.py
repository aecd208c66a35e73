"""A bundle is loaded only if every byte is the one that was listed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from models.bundle import (
    BundleError,
    ChecksumMismatch,
    UnknownOperatingPoint,
    find_bundle,
    list_bundles,
    load_bundle,
    write_manifest,
)
from tests.factories.bundles import write_bundle


def test_a_bundle_says_who_it_is(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "made_up" / "1.0.0", synthetic=True))
    assert (bundle.label, bundle.evidence, bundle.synthetic, bundle.twin) == ("made_up@1.0.0", "demo", True, False)
    assert bundle.model.read_bytes()


@pytest.mark.parametrize("name", ["model.onnx", "operating_points.yaml"])
def test_one_changed_byte_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b")
    changed = bytearray((folder / name).read_bytes())
    changed[len(changed) // 2] ^= 1
    (folder / name).write_bytes(bytes(changed))
    with pytest.raises(ChecksumMismatch, match=name):
        load_bundle(folder)


def test_a_missing_file_an_extra_file_and_a_link_are_refused(tmp_path: Path) -> None:
    missing, extra, link = (write_bundle(tmp_path / name) for name in ("missing", "extra", "link"))
    (missing / "operating_points.yaml").unlink()
    (extra / "code.py").write_text("print('never')")
    (link / "elsewhere").symlink_to("/etc/hostname")
    for folder, text in ((missing, "missing"), (extra, "not listed"), (link, "link")):
        with pytest.raises(BundleError, match=text):
            load_bundle(folder)


def test_a_folder_without_manifest_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="not a bundle"):
        load_bundle(tmp_path / "empty")
    folder = write_bundle(tmp_path / "b")
    for text in ("{", "- a list", "name: x\n"):
        (folder / "bundle.yaml").write_text(text)
        with pytest.raises(BundleError):
            load_bundle(folder)


def test_an_unknown_word_of_evidence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="evidence"):
        write_bundle(tmp_path / "b", evidence="splendid")


def test_the_bundle_hash_changes_with_any_file_and_with_the_manifest_and_with_nothing_else(tmp_path: Path) -> None:
    first, second = load_bundle(write_bundle(tmp_path / "a")), load_bundle(write_bundle(tmp_path / "b"))
    assert first.sha256 == second.sha256
    (second.folder / "model.onnx").write_bytes(b"other")
    third = write_manifest(second.folder)
    assert third.sha256 != first.sha256
    assert write_manifest(second.folder).sha256 == third.sha256
    assert load_bundle(write_bundle(tmp_path / "c", twin=True)).sha256 != first.sha256


def test_an_unknown_policy_names_those_that_exist(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path / "b"))
    assert bundle.operating_point("screening")["tau"] == 0.25
    with pytest.raises(UnknownOperatingPoint, match="screening"):
        bundle.operating_point("casual")


def test_the_highest_version_is_found_by_semantic_order(tmp_path: Path) -> None:
    order = ["0.9.0", "0.10.0-alpha", "0.10.0-alpha.1", "0.10.0-alpha.2", "0.10.0-alpha.10", "0.10.0-beta", "0.10.0", "1.0.0"]
    shuffled = random.Random(3).sample(order, len(order))
    for count, version in enumerate(shuffled, 1):
        write_bundle(tmp_path / "m" / version, "m", version)
        highest = max(shuffled[:count], key=order.index)
        assert find_bundle("m", None, [tmp_path]).name == highest
    assert find_bundle("m", "0.9.0", [tmp_path]).name == "0.9.0"
    assert [path.name for path in list_bundles([tmp_path])] == order


def test_the_first_root_wins_for_equal_versions_and_a_higher_version_beats_an_earlier_root(tmp_path: Path) -> None:
    write_bundle(tmp_path / "site" / "m" / "1.0.0", "m")
    write_bundle(tmp_path / "shipped" / "m" / "1.0.0", "m")
    roots = [tmp_path / "site", tmp_path / "absent", tmp_path / "shipped"]
    assert find_bundle("m", None, roots).is_relative_to(tmp_path / "site")
    write_bundle(tmp_path / "shipped" / "m" / "1.0.1", "m", "1.0.1")
    assert find_bundle("m", None, roots).name == "1.0.1"


def test_no_bundle_of_that_name_or_version_is_an_error(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m" / "1.0.0", "m")
    for name, version in (("n", None), ("m", "2.0.0")):
        with pytest.raises(BundleError, match="no bundle"):
            find_bundle(name, version, [tmp_path])
