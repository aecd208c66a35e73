"""A model is a folder: load it, check every byte of it, find the right version.

``bundle.yaml`` names every other file with its SHA-256 under ``files``; a folder with a changed, missing or unlisted file is not a
bundle. Nothing in a bundle is code and nothing is unpickled: YAML (safe loader), ONNX, safetensors, JSON, NumPy without objects.

This module needs PyYAML only and nothing of the node, so that a bundle can be checked anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MANIFEST = "bundle.yaml"
OPERATING_POINTS = "operating_points.yaml"
#: Where the bundles lie that come with the product.
SHIPPED = Path(__file__).parent / "bundles"
EVIDENCE = ("demo", "internal", "external")
_REQUIRED = ("name", "version", "task", "intended_use", "evidence", "preprocessing", "outputs", "files")


class BundleError(Exception):
    """The folder is not a usable bundle, or there is none of that name. The text is for people and names files only."""


class ChecksumMismatch(BundleError):
    """A file of the bundle is not the one its manifest names: nothing of it may run."""


class UnknownOperatingPoint(BundleError):
    """The bundle has no policy of that name."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    ``sha256`` is the bundle hash: SHA-256 over the sorted lines ``path sha256`` of every file, the manifest included.
    ``config`` is ``bundle.yaml`` as a mapping.
    """

    folder: Path
    name: str
    version: str
    sha256: str
    evidence: str
    synthetic: bool
    twin: bool
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def model(self) -> Path:
        """The ONNX graph that inference runs."""
        return self.folder / "model.onnx"

    def operating_point(self, policy: str) -> dict[str, Any]:
        """Return the policy of that name: thresholds, guarantee, views, ``feasible``.

        Raises
        ------
        UnknownOperatingPoint
            There is none; the message lists those that exist.
        """
        known = self.operating_points()
        if policy not in known:
            names = ", ".join(sorted(known)) or "none"
            raise UnknownOperatingPoint(f'{self.label} has no operating point "{policy}". It has: {names}')
        return dict(known[policy])

    def policy_sha256(self, policy: str) -> str:
        """Return the hash that run keys and results know a policy by: over its name and content.

        Raises
        ------
        UnknownOperatingPoint
            There is none of that name.
        """
        text = json.dumps([policy, self.operating_point(policy)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def operating_points(self) -> dict[str, Any]:
        """Return every policy by name; empty for a bundle that decides nothing."""
        return dict(_policies(self.folder / OPERATING_POINTS, self.sha256))


_verified: dict[Path, tuple[frozenset[tuple[str, int, int, int, int]], Bundle]] = {}


def load_bundle(folder: Path) -> Bundle:
    """Verify every file of ``folder`` against its manifest and return the bundle.

    A folder that was verified before by this process and whose files were not touched since (size, both times and number of each
    file) is not read again.

    Raises
    ------
    BundleError, ChecksumMismatch
        As ``verify_bundle``.
    """
    folder = Path(folder)
    touched = _touched(folder)
    known = _verified.get(folder)
    if known is not None and known[0] == touched:
        return known[1]
    bundle = verify_bundle(folder)
    _verified[folder] = touched, bundle
    return bundle


def _touched(folder: Path) -> frozenset[tuple[str, int, int, int, int]]:
    """Return what changes when any file of the folder does; the time of change (ctime) cannot be set back."""
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return frozenset((str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for path, s in found)


def verify_bundle(folder: Path) -> Bundle:
    """Read every file of ``folder``, compare it with the manifest and return the bundle.

    Raises
    ------
    BundleError
        No manifest, a field missing, a file missing or not listed, or a link.
    ChecksumMismatch
        A file's bytes are not those that were listed.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder.name}: no {MANIFEST} here, so this is not a bundle")
    config = _mapping(folder / MANIFEST)
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        raise BundleError(f"{folder.name}: {MANIFEST} lacks {', '.join(missing)}")
    if config["evidence"] not in EVIDENCE:
        raise BundleError(f"{folder.name}: evidence must be one of {', '.join(EVIDENCE)}")
    listed = {str(name): str(digest) for name, digest in dict(config["files"]).items()}
    present = _files(folder)
    for name in sorted(set(listed) - set(present)):
        raise BundleError(f"{folder.name}: the file {name} is listed and missing")
    for name in sorted(set(present) - set(listed)):
        raise BundleError(f"{folder.name}: the file {name} is not listed in {MANIFEST}")
    for name, path in sorted(present.items()):
        if _sha256(path) != listed[name]:
            raise ChecksumMismatch(f"{folder.name}: the file {name} was changed after the bundle was made")
    if "model.onnx" not in present:
        raise BundleError(f"{folder.name}: there is no model.onnx")
    return Bundle(
        folder=folder,
        name=str(config["name"]),
        version=str(config["version"]),
        sha256=_bundle_hash({**listed, MANIFEST: _sha256(folder / MANIFEST)}),
        evidence=str(config["evidence"]),
        synthetic=bool(config.get("synthetic", False)),
        twin=bool(config.get("twin", False)),
        config=config,
    )


def write_manifest(folder: Path) -> Bundle:
    """Write the SHA-256 of every other file into ``bundle.yaml`` (which must exist) and return the loaded bundle."""
    folder = Path(folder)
    config = _mapping(folder / MANIFEST)
    config["files"] = {name: _sha256(path) for name, path in sorted(_files(folder).items())}
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=120)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return load_bundle(folder)


def find_bundle(name: str, version: str | None, roots: Sequence[Path]) -> Path:
    """Return the folder ``<root>/<name>/<version>``; without a version, of the highest one (of equal ones, the first root's).

    Raises
    ------
    BundleError
        There is none.
    """
    found = [path for root in roots for path in _versions(Path(root) / name) if version is None or path.name == version]
    if not found:
        wanted = f"{name}@{version}" if version else name
        raise BundleError(f"no bundle {wanted} in {len(roots)} folder(s)")
    highest = max(_order(path.name) for path in found)
    return next(path for path in found if _order(path.name) == highest)


def list_bundles(roots: Sequence[Path]) -> list[Path]:
    """Return every bundle folder under the roots, by root, name and version."""
    found: list[Path] = []
    for root in roots:
        if Path(root).is_dir():
            for named in sorted(p for p in Path(root).iterdir() if p.is_dir()):
                found += sorted(_versions(named), key=lambda p: _order(p.name))
    return found


def _versions(named: Path) -> list[Path]:
    return [p for p in named.iterdir() if (p / MANIFEST).is_file()] if named.is_dir() else []


def _order(version: str) -> tuple[tuple[int, ...], int, tuple[tuple[int, int, str], ...]]:
    """Order of semantic versioning 2.0 (section 11): numbers as numbers, a pre-release before its release, build ignored."""
    core, _, pre = version.split("+", 1)[0].partition("-")
    numbers = tuple(int(n) for n in re.findall(r"\d+", core))
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in pre.split(".")) if pre else ()
    return numbers, 0 if pre else 1, parts


def _files(folder: Path) -> dict[str, Path]:
    present: dict[str, Path] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise BundleError(f"{folder.name}: {path.relative_to(folder).as_posix()} is a link; a bundle holds plain files only")
        if path.is_file() and path != folder / MANIFEST:
            present[path.relative_to(folder).as_posix()] = path
    return present


@functools.lru_cache(maxsize=64)
def _policies(path: Path, _bundle_sha256: str) -> dict[str, Any]:
    return dict(_mapping(path).get("policies") or {}) if path.exists() else {}


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path.parent.name}: {path.name} is not readable YAML") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path.parent.name}: {path.name} is not a mapping")
    return content


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _bundle_hash(files: dict[str, str]) -> str:
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in sorted(files.items())).encode()).hexdigest()
