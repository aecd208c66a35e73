"""``dicom-node certs``: a small authority with certificates for this node and its peers, to try encryption out."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.core.errors import UsageError
from dicom_node.network.small_ca import SmallCa

_LONGEST_DAYS = 825


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files; made where missing")
    parser.add_argument("--host", action="append", default=[], metavar="NAME", help="name or address of this node; may be repeated")
    parser.add_argument("--days", type=int, default=90, help="how long the certificates are valid (default: 90)")


def run(options: argparse.Namespace) -> int:
    """Write the files and say what to put where."""
    if not 1 <= options.days <= _LONGEST_DAYS:
        raise UsageError(f"--days takes 1 to {_LONGEST_DAYS}")
    folder = options.out.resolve()
    hosts = options.host or ["localhost", "127.0.0.1"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority, made = _authority(folder)
        authority.issue(folder / "node.pem", folder / "node.key", name=hosts[0], hosts=hosts, days=options.days)
        authority.issue(folder / "peer.pem", folder / "peer.key", name="peer", days=options.days)
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"the files in {folder} cannot be used ({error}); name an empty folder") from None
    print(f"{'Made a new authority' if made else 'Used the authority that was there'}: {folder}/ca.pem")
    print(f"Certificates for {options.days} days: node.pem for this node ({', '.join(hosts)}), peer.pem for a peer.")
    print("FOR TESTS. Whoever reads ca.key can pass for anybody; for patients use the hospital's own authority.\n")
    print(_WHAT_TO_WRITE.format(folder=folder))
    return 0


def _authority(folder: Path) -> tuple[SmallCa, bool]:
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() or key.exists():
        return SmallCa.load(certificate, key), False
    authority = SmallCa.make("dicom-node test authority")
    authority.save(certificate, key)
    return authority, True


_WHAT_TO_WRITE = """\
For images that come in, in node.yaml:

  reception:
    tls:
      certificate: {folder}/node.pem
      private_key: {folder}/node.key
      client_ca: {folder}/ca.pem

For a PACS that results go to:

  destinations:
    pacs:
      tls:
        certificate: {folder}/node.pem
        private_key: {folder}/node.key
        ca: {folder}/ca.pem

Give the peer peer.pem, peer.key and ca.pem; give node.key to the node's user (chown). To try it with DCMTK from any machine, add
under reception.peers, and take it out afterwards:

  - {{ae_title: TEST, certificate_name: peer}}

AINODE is this node's AE title, 2762 its TLS port:

  echoscu -aet TEST -aec AINODE +tls {folder}/peer.key {folder}/peer.pem +cf {folder}/ca.pem localhost 2762"""
