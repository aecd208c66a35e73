"""``python -m models.training.through_node --bundle DIR``: draw, let the pipeline read, say; and write where asked."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from models.card import through_node as on_card
from models.training.amend import add_figures
from models.training.through_node.measure import measured


def main(given: list[str] | None = None) -> None:
    """Measure one bundle and print its section; nothing is kept without ``--write`` or ``--page``."""
    parser = argparse.ArgumentParser(prog="python -m models.training.through_node", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder of ct_ntm or ct_pima_ipn")
    parser.add_argument("--phantoms", type=int, default=200, help="patients of a cohort (default 200); of fine scans half as many")
    parser.add_argument(
        "--processes", type=int, default=2, help="patients read at once (default 2); the figures do not depend on it"
    )
    parser.add_argument("--write", action="store_true", help="put the figures into the bundle's card")
    parser.add_argument("--page", type=Path, help="evidence page whose section is written anew")
    options = parser.parse_args(given)
    found = measured(options.bundle, options.phantoms, processes=options.processes)
    text = "\n\n".join(on_card.section({"through_node": found}))
    print(text, flush=True)
    if options.write:
        add_figures(options.bundle, {"through_node": found})
    if options.page:
        options.page.write_text(with_section(options.page.read_text(encoding="utf-8"), text), encoding="utf-8")


def with_section(page: str, section: str) -> str:
    """Return the page with this section in place of the one of its heading; at its end where it has none."""
    without = re.sub(rf"\n{re.escape(on_card.HEADING)}\n.*?(?=\n## |\Z)", "", page, flags=re.DOTALL).rstrip("\n")
    return f"{without}\n\n{section}\n"


if __name__ == "__main__":
    main()
