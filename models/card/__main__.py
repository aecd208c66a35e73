"""``python -m models.card DIR…``: write the cards of these bundles anew. A bundle that was changed by hand is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.bundle import load_bundle
from models.card import FILE, rewrite


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m models.card", description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+", help="bundle folder(s)")
    for folder in parser.parse_args().bundle:
        before = load_bundle(folder)  # a damaged bundle must not get sound hashes by this
        bundle = rewrite(folder)
        lines = len((folder / FILE).read_text(encoding="utf-8").splitlines())
        print(f"{bundle.label}: {lines} lines, sha256 {before.sha256[:16]} -> {bundle.sha256[:16]}")


if __name__ == "__main__":
    main()
