"""``dicom-node certs``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dicom_node.cli import main
from dicom_node.network.certificates import certificates_in, expiry
from dicom_node.network.tls import client_context, server_context
from dicom_node.network.tls_settings import ClientTls, ServerTls


def test_it_makes_what_both_sides_need_and_says_where_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files can be used as they are, keys are private, and it is said that they are for tests."""
    folder = tmp_path / "certs"
    assert main(["certs", "--out", str(folder), "--host", "node.example", "--host", "10.1.2.3", "--days", "7"]) == 0
    told = capsys.readouterr().out
    assert "FOR TESTS" in told
    assert f"certificate: {folder}/node.pem" in told
    peer = yaml.safe_load(next(line for line in told.splitlines() if "certificate_name" in line))[0]  # whom the trial line calls as
    assert f"echoscu -aet {peer['ae_title']} " in told
    assert (
        {"peer"}
        == {name.value for part in certificates_in(folder / "peer.pem") for name in part.subject}
        == {peer["certificate_name"]}
    )
    server_context(ServerTls(certificate=folder / "node.pem", private_key=folder / "node.key", client_ca=folder / "ca.pem"))
    client_context(ClientTls(certificate=folder / "peer.pem", private_key=folder / "peer.key", ca=folder / "ca.pem"))
    (node,) = certificates_in(folder / "node.pem")
    assert (expiry(folder / "node.pem") - node.not_valid_before_utc).days == 7
    assert all(key.stat().st_mode & 0o077 == 0 for key in folder.glob("*.key"))


def test_called_again_it_renews_under_the_same_authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Peers that trust the authority need not be told."""
    main(["certs", "--out", str(tmp_path)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["certs", "--out", str(tmp_path)]) == 0
    assert "authority that was there" in capsys.readouterr().out
    changed = {path.name for path in tmp_path.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"node.pem", "node.key", "peer.pem", "peer.key"}


def test_what_cannot_be_done_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of days out of bounds, a folder that is a file, an authority that is none."""
    assert main(["certs", "--out", str(tmp_path), "--days", "9999"]) == 2
    (tmp_path / "file").touch()
    assert main(["certs", "--out", str(tmp_path / "file")]) == 2
    for name in ("ca.pem", "ca.key"):
        (tmp_path / name).write_text("nothing")
    assert main(["certs", "--out", str(tmp_path)]) == 2
    assert "name an empty folder" in capsys.readouterr().err
