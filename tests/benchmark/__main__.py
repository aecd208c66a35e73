"""``make bench``: reception beside its peers, start-up, and the time to an answer; printed, and kept in the docs."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

REPORT = Path(__file__).parents[2] / "docs" / "reference" / "performance.md"
#: What is measured of an idle node comes first: after the burst of the last part the disk is busy for minutes.
PARTS = {
    "From the last C-STORE to the answer in the PACS": "answer_time",
    "From the last C-STORE of a chest CT to its results": "ct_answer_time",
    "From serve to the first C-ECHO": "startup",
    "Reception beside its peers": "ingest",
}
_HEAD = """# Performance

Written by `make bench`; not edited by hand. Ratios are medians over interleaved rounds on one machine; wall times swing where it is
shared. Every peer has TCP_NODELAY. Ours answers after file, folder and row are on the disk.
"""


def main() -> int:
    """Run the parts one after the other; 1 if one could not be run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPORT, help="where the report goes")
    out = parser.parse_args().out
    text = f"{_HEAD}\n{machine()}\n"
    failed = False
    for title, module in PARTS.items():
        print(f"== {title}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"tests.benchmark.{module}"], stdout=subprocess.PIPE, text=True, check=False)
        failed |= done.returncode != 0
        said = done.stdout.strip() if done.returncode == 0 else "It could not be measured: the program failed."
        print(said, flush=True)
        text += f"\n## {title}\n\n{said}\n"
    out.write_text(text)
    print(f"written to {out}")
    return int(failed)


def machine() -> str:
    """Return the machine's facts in a few lines of Markdown."""
    names = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    facts = {
        "Measured": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "Processor": f"{os.cpu_count()} x {names[0] if names else platform.machine()}",
        "Memory": f"{memory:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Libraries": ", ".join(f"{name} {version(name)}" for name in ("pynetdicom", "pydicom", "highdicom", "sqlalchemy")),
        "Peers": ", ".join((_first_line("Orthanc", "--version"), _first_line("/usr/bin/storescp", "--version"))),
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def _first_line(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.strip("$ ").removeprefix("dcmtk: ") for line in (said.stdout or said.stderr).splitlines() if line.strip()]
    return lines[0] if lines else command[0]


if __name__ == "__main__":
    raise SystemExit(main())
