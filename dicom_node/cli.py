"""The commands; each is one module in ``commands/`` with ``add_arguments`` and ``run``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Sequence

from dicom_node import log
from dicom_node.core.errors import ConfigError, NodeError, UsageError
from dicom_node.version import VERSION

#: command -> what it does, as ``--help`` shows it. The module of the same name is imported only when the command is called.
COMMANDS = {
    "init": "write a commented node.yaml",
    "serve": "run the node",
    "check": "test the configuration, the models and every peer",
    "analyze": "analyse files without a network",
    "explain": "say which rules and gates would apply to files, and why",
    "study": "tell the whole story of one study",
    "studies": "list studies, release a held one, put one under legal hold, withdraw results",
    "deliveries": "list deliveries, send parked ones again",
    "retention": "list what may be deleted by age, or delete it now",
    "associations": "list who connected, what came and how it ended; export it for a vendor",
    "messages": "list HL7 messages that came, and what became of them",
    "verdicts": "list what people said about results; check that nothing of it was changed",
    "answers": "list what came as an answer and does not count, and why; resume a suspended sender",
    "opt-out": "keep that a patient says no to analysis or learning, or import such a list",
    "erase": "remove a patient, or one study, for good",
    "learning": "list worklists and labels that answers give, name golden cases",
    "users": "make the hash of a password, for people who log in to the pages",
    "bundle": "list or verify model bundles",
    "certs": "make a small authority and certificates, to try encryption",
    "demo": "show the main job end to end on loopback",
    "schema": "print the JSON Schema of node.yaml",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 fine, 1 failed, 2 called wrongly."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="dicom-node", description="Inference node beside a PACS. Research use only.")
    parser.add_argument("--version", action="version", version=f"dicom-node {VERSION}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((word for word in arguments if not word.startswith("-")), "")
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == named:
            module = importlib.import_module(f"dicom_node.commands.{name.replace('-', '_')}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        # the log is what ``serve`` says; of the others it must not get into the answer, which programs may read
        with contextlib.nullcontext() if named == "serve" else log.on_standard_error():
            return int(options.run(options))
    except (UsageError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 2
    except NodeError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
