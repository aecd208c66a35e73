"""``python -m tests.fuzz``: everything, within a time; or one case again.

python -m tests.fuzz --minutes 5                     all targets, a new seed, which is printed
python -m tests.fuzz headers --seed S --only 533     one data set through header reading
python -m tests.fuzz streams --seed S --only 17 --path fast
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tests.fuzz import headers, sockets

#: Where failing cases are written.
FAILURES = Path("fuzz-failures")


def main() -> int:
    """Run; the exit status says whether there were defects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", choices=["headers", "streams"])
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", type=int, help="one case, by its number")
    parser.add_argument("--path", choices=["fast", "plain", "doors"], default="fast", help="what the streams go through")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    first, last = (0, 10_000_000) if options.only is None else (options.only, options.only + 1)
    seconds = options.minutes * 60
    print(f"seed {options.seed}", flush=True)
    cases = defects = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.target in (None, "streams"):
            shares = {options.path: 1.0} if options.target else {"fast": 0.3, "plain": 0.15, "doors": 0.15}
            for path, share in shares.items():
                found = sockets.run(options.seed, first, last, folder / path, FAILURES, path, seconds * share)
                print(f"streams, {path}: {found}", flush=True)
                cases, defects = cases + found.pdus, defects + _told(found.defects)
        if options.target in (None, "headers"):
            read = headers.run(options.seed, first, last, folder, FAILURES, seconds * (0.4 if options.target is None else 1.0))
            print(f"headers: {read}", flush=True)
            cases, defects = cases + read.cases, defects + _told(read.defects)
    print(f"seed {options.seed}: {cases} mutated PDUs and data sets, {defects} defects")
    return bool(defects)


def _told(defects: list[str]) -> int:
    for defect in defects:
        print(f"  DEFECT {defect}", flush=True)
    return len(defects)


if __name__ == "__main__":
    sys.exit(main())
