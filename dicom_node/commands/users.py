"""``dicom-node users``: make the hash of a password for web.users. The password itself is kept nowhere."""

from __future__ import annotations

import argparse
import getpass
import sys

from dicom_node.core.errors import UsageError
from dicom_node.web.passwords import hash_password

#: Short ones are guessed; this is what NIST SP 800-63B, 5.1.1.2 asks at least.
LEAST = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("hash",), help="hash: read a password (asks, or standard input), print its hash")


def run(options: argparse.Namespace) -> int:
    """Print the hash, ready to be written as password_hash."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != password:
            raise UsageError("the two differ; nothing is printed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < LEAST:
        raise UsageError(f"a password has at least {LEAST} characters; nothing is printed")
    print(hash_password(password))
    return 0
