"""DICOM over TLS with DCMTK at the other end, in and out: who comes in, what the log says, and renewal without a restart."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import sqlalchemy as sa

from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import TlsFailure
from dicom_node.delivery.destinations import dicom_store
from dicom_node.demo.peers import free_ports, listens, wait_for
from dicom_node.network.association import open_association
from dicom_node.reception.scp import Receiver, start
from dicom_node.reception.settings import PeerSettings, ReceptionSettings, ReceptionTls
from dicom_node.store import tables
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies.settings import StudiesSettings
from dicom_node.studies.step import record_arrival
from tests.factories.certificates import Certificates, certificates
from tests.factories.deliverables import artifact
from tests.factories.received_objects import part10, radiograph

STORESCU, STORESCP, OPENSSL = "/usr/bin/storescu", "/usr/bin/storescp", "/usr/bin/openssl"


@pytest.fixture
def pki(tmp_path: Path) -> Certificates:
    return certificates(tmp_path / "certs")


@dataclass
class Node:
    """A reception that takes TLS, what it holds, and its log."""

    receiver: Receiver
    database: sa.Engine
    home: Path
    log: Callable[[], list[dict[str, Any]]]

    @property
    def tls_port(self) -> int:
        assert self.receiver.tls_port is not None
        return self.receiver.tls_port

    def instances(self) -> int:
        with self.database.connect() as connection:
            return len(list(connection.execute(sa.select(tables.instance))))

    def nothing_was_taken(self) -> bool:
        store = self.home / "store"
        return self.instances() == 0 and not [path for path in store.rglob("*") if path.is_file()]

    def refusal(self) -> tuple[str, str]:
        """Wait for a refused handshake; return code and sentence of the last one."""
        end = time.monotonic() + 10
        told: list[dict[str, Any]] = []
        while time.monotonic() < end:
            told += [line for line in self.log() if line["event"] == "tls.refused"]
            if told:
                return told[-1]["code"], told[-1]["reason"]
            time.sleep(0.05)
        raise AssertionError("no refusal in the log")


@pytest.fixture(params=["fast", "plain"])
def node(tmp_path: Path, pki: Certificates, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Iterator[Node]:
    """Both ways of taking objects; ``STRICT`` is the one whose AE title goes with a certificate."""
    settings = ReceptionSettings(
        host="127.0.0.1",
        port=0,
        path=request.param,
        tls=ReceptionTls(port=0, certificate=pki.pem("node"), private_key=pki.key("node"), client_ca=pki.pem("ca")),
        peers=(PeerSettings(ae_title="CT1"), PeerSettings(ae_title="STRICT", certificate_name="Strict.Hospital.Example")),
    )
    home = tmp_path / "home"
    home.mkdir()
    database = open_database(default_url(home))
    receiver = start(settings, home=home, database=database, record=partial(record_arrival, settings=StudiesSettings()))

    def log() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]

    yield Node(receiver, database, home, log)
    receiver.stop(grace_seconds=1)
    database.dispose()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.dcm"
    path.write_bytes(part10(radiograph()))
    return path


def storescu(port: int, image: Path, *options: object, calling: str = "CT1") -> subprocess.CompletedProcess[str]:
    command = [
        STORESCU,
        "-v",
        "-to",
        "10",
        "-aet",
        calling,
        "-aec",
        "AINODE",
        *map(str, options),
        "127.0.0.1",
        str(port),
        str(image),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def with_certificate(pki: Certificates, name: str = "peer", ca: str = "ca") -> tuple[object, ...]:
    return ("+tls", pki.key(name), pki.pem(name), "+cf", pki.pem(ca))


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_with_the_right_certificate_stores(node: Node, pki: Certificates, image: Path, profile: str) -> None:
    """Under each of DCMTK's BCP 195 profiles; the plain port takes objects beside it."""
    sent = storescu(node.tls_port, image, *with_certificate(pki), profile)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert node.instances() == 1
    assert storescu(node.receiver.port, image).returncode == 0


@pytest.mark.parametrize(
    ("shown", "code", "said"),
    [
        (None, "no_certificate", "showed no certificate"),
        ("stranger", "unknown_ca", "authority that is not trusted here"),
        ("expired", "expired", "has expired"),
    ],
)
def test_dcmtk_without_it_is_refused_and_the_log_says_why(
    node: Node, pki: Certificates, image: Path, shown: str | None, code: str, said: str
) -> None:
    """No certificate, one of another authority, an expired one: not a byte of the image is taken."""
    options = with_certificate(pki, shown) if shown else ("+tla", "+cf", pki.pem("ca"))
    assert storescu(node.tls_port, image, *options).returncode != 0
    told, reason = node.refusal()
    assert told == code
    assert said in reason
    assert node.nothing_was_taken()


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_tls_1_0_and_1_1_are_refused(node: Node, pki: Certificates, version: str) -> None:
    """OpenSSL's own client, told to offer nothing newer."""
    own = ["-cert", pki.pem("peer"), "-key", pki.key("peer"), "-CAfile", pki.pem("ca")]
    command = [OPENSSL, "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{node.tls_port}", *map(str, own)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout
    assert node.refusal()[0] == "protocol_version"


def test_tls_1_2_and_1_3_are_spoken(node: Node, pki: Certificates) -> None:
    """The same client with the versions of the profile, so that the test above cannot pass for another reason."""
    own = ["-cert", pki.pem("peer"), "-key", pki.key("peer"), "-CAfile", pki.pem("ca")]
    for version in ("-tls1_2", "-tls1_3"):
        command = [OPENSSL, "s_client", version, "-connect", f"127.0.0.1:{node.tls_port}", *map(str, own)]
        done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
        assert "Verify return code: 0 (ok)" in done.stdout
        assert "-GCM-" in done.stdout or "_GCM_" in done.stdout or "CHACHA20" in done.stdout


def test_plain_text_on_the_tls_port_and_tls_on_the_plain_port_are_told(node: Node, pki: Certificates, image: Path) -> None:
    """The two mistakes that every installation makes once."""
    assert storescu(node.tls_port, image).returncode != 0
    assert node.refusal()[0] == "plaintext"
    assert storescu(node.receiver.port, image, *with_certificate(pki)).returncode != 0
    end, told = time.monotonic() + 10, []
    while not told and time.monotonic() < end:
        told = [line["reason"] for line in node.log() if line["event"] == "association.unreadable"]
        time.sleep(0.05)
    assert told == ["the caller speaks TLS on the plain port"]
    assert node.nothing_was_taken()


def test_an_ae_title_may_belong_to_a_certificate(node: Node, pki: Certificates, image: Path) -> None:
    """STRICT comes in with its own certificate only: not with another's, and not in plain text."""
    pki.issue("strict", hosts=["strict.hospital.example"])
    assert storescu(node.tls_port, image, *with_certificate(pki, "peer"), calling="STRICT").returncode != 0
    assert storescu(node.receiver.port, image, calling="STRICT").returncode != 0
    assert node.nothing_was_taken()
    told = [line["reason"] for line in node.log() if line["event"] == "association.rejected"]
    assert told == ["calling AE title not recognized with this certificate, or without one"] * 2
    assert storescu(node.tls_port, image, *with_certificate(pki, "strict"), calling="STRICT").returncode == 0
    assert node.instances() == 1


def _shown(port: int, pki: Certificates) -> str:
    context = pki.caller()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(plain) as encrypted:
        parts = encrypted.getpeercert() or {}
        return str(parts["subject"][0][0][1])


def test_a_renewed_certificate_is_used_by_the_next_association(node: Node, pki: Certificates, image: Path) -> None:
    """The running receiver is not touched, and an open association goes on; half a renewal changes nothing and is told."""
    assert _shown(node.tls_port, pki) == "node"
    place = {"host": "127.0.0.1", "port": node.tls_port, "called_ae": "AINODE", "calling_ae": "CT1", "timeout_seconds": 10}
    echo = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]
    with open_association(**place, contexts=echo, tls=pki.client_tls("peer")) as before:
        pki.issue("renewed")
        pki.exchange("node", "renewed")
        assert _shown(node.tls_port, pki) == "renewed"
        assert before.send_c_echo().Status == 0x0000
        pki.key("node").write_text("cut off")
        assert _shown(node.tls_port, pki) == "renewed"
        assert storescu(node.tls_port, image, *with_certificate(pki)).returncode == 0
    assert [line["event"] for line in node.log() if line["event"].startswith("tls.files")] == [
        "tls.files_renewed",
        "tls.files_unusable",
    ]


def test_a_large_image_arrives_to_the_byte(node: Node, pki: Certificates, tmp_path: Path) -> None:
    """Hundreds of PDUs through TLS records that begin and end elsewhere."""
    path = tmp_path / "large.dcm"
    pixels = np.random.default_rng(1).integers(0, 4096, 2500 * 3000, dtype="<u2").tobytes()
    path.write_bytes(part10(radiograph(Rows=2500, Columns=3000, PixelData=pixels)))
    assert storescu(node.tls_port, path, *with_certificate(pki)).returncode == 0
    (kept,) = list((node.home / "store").rglob("*.dcm"))
    assert pydicom.dcmread(kept).PixelData == pixels


def test_an_authority_that_is_no_longer_trusted_is_out_at_once(node: Node, pki: Certificates, image: Path) -> None:
    """IT takes the authority of a supplier out of client_ca; its devices stay outside from then on."""
    pki.pem("ca").write_bytes(pki.pem("other_ca").read_bytes())
    assert storescu(node.tls_port, image, *with_certificate(pki, "stranger", ca="ca"), "-ic").returncode == 0
    before = node.instances()
    assert storescu(node.tls_port, image, *with_certificate(pki, "peer"), "-ic").returncode != 0
    assert node.refusal()[0] == "unknown_ca"
    assert node.instances() == before


# ---------------------------------------------------------------- out


@contextlib.contextmanager
def dcmtk_pacs(folder: Path, pki: Certificates, name: str = "peer") -> Iterator[int]:
    """Run DCMTK's storescp, which wants a certificate of ``ca``."""
    folder.mkdir()
    (port,) = free_ports(1)
    tls = ["+tls", str(pki.key(name)), str(pki.pem(name)), "+cf", str(pki.pem("ca")), "-rc"]
    server = subprocess.Popen([STORESCP, "-od", str(folder), *tls, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("storescp", lambda: listens(port), 20)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def place(port: int, tls: Any) -> dicom_store.Settings:
    return dicom_store.Settings(kind="dicom_store", ae_title="PACS", host="127.0.0.1", port=port, tls=tls, timeout_seconds=10)


def test_results_go_to_a_pacs_by_mutual_tls(tmp_path: Path, pki: Certificates) -> None:
    """DCMTK checks this node's certificate and shows its own."""
    with dcmtk_pacs(tmp_path / "pacs", pki) as port:
        receipt = dicom_store.send(artifact(), place(port, pki.client_tls(server_name="localhost")))
        assert receipt.outcome is Outcome.DELIVERED
        assert dicom_store.check(place(port, pki.client_tls()), ()) == []
    assert len(list((tmp_path / "pacs").iterdir())) == 1


@pytest.mark.parametrize(("own", "theirs", "code"), [("stranger", "peer", "refused"), ("node", "stranger", "unknown_ca")])
def test_no_result_goes_to_a_pacs_when_one_side_does_not_believe_the_other(
    tmp_path: Path, pki: Certificates, own: str, theirs: str, code: str
) -> None:
    """Nothing is sent, it is tried again later, and the sentence says whose certificate it is."""
    with dcmtk_pacs(tmp_path / "pacs", pki, theirs) as port:
        with pytest.raises(TlsFailure) as caught:
            dicom_store.send(artifact(), place(port, pki.client_tls(own)))
        (problem,) = dicom_store.check(place(port, pki.client_tls(own)), ())
    assert caught.value.temporary
    assert caught.value.code in {"refused": ("refused_by_peer", "closed"), "unknown_ca": ("unknown_ca",)}[code]
    assert "certificate" in problem
    assert list((tmp_path / "pacs").iterdir()) == []
