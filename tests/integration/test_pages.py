"""The pages as a process of their own, over TLS, on a result that the real pipeline made: log in, look, answer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from dicom_node.demo.peers import LOOPBACK, free_ports, wait_for
from dicom_node.store import tables
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.certificates import certificates
from tests.factories.shown_results import HASH, PASSWORD
from tests.integration.in_process import InProcessNode

NAME, ACCESSION = "MARKERNAME^Mina", "MARKERACC"


class Pages:
    """A node with one analysed study, and its pages over https."""

    def __init__(self, folder: Path) -> None:
        tls = certificates(folder)
        tls.issue("pages", hosts=("localhost",))
        (port,) = free_ports(1)
        self.url = f"https://localhost:{port}"
        self.node = InProcessNode(
            folder / "node",
            destination={"outputs": ["text_report"]},
            readers=[{"name": "Rao^Asha", "role": "radiologist", "login": "rao"}],
            web={
                "host": LOOPBACK,
                "port": port,
                "public_url": self.url,
                "tls": {"certificate": str(tls.pem("pages")), "private_key": str(tls.key("pages"))},
                "users": [{"login": "rao", "password_hash": HASH}],
            },
        )
        image, _, _ = chest_phantom(seed=3, size=768, abnormal=True)
        self.source = as_radiograph(image, seed="pages", modality="CR", PatientName=NAME, AccessionNumber=ACCESSION)
        self.story = self.node.answer(self.source)
        self.key = self.story["runs"][-1]["run_key"]
        self.log = folder / "log"
        command = [sys.executable, "-m", "dicom_node", "serve", "--home", str(self.node.rooms.home.path), "--role", "web"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.trust = tls.caller(None)
        self.trust.check_hostname = True

    def browser(self) -> httpx.Client:
        """Return a browser that trusts the hospital's authority."""
        return httpx.Client(base_url=self.url, verify=self.trust, trust_env=False, timeout=20)

    def answers(self) -> bool:
        """Say whether the pages are there."""
        try:
            return self.browser().get("/healthz").status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """The pages, until they are there."""
    made = Pages(tmp_path_factory.mktemp("pages"))
    try:
        wait_for("the pages", made.answers, 60)
        yield made
    finally:
        made.process.terminate()
        made.process.wait(30)


def test_from_the_link_in_the_report_to_the_answer(pages: Pages) -> None:
    """The SR names the page; it leads to the login and back; the image is the one that was sent; accept is one strong row."""
    (report,) = pages.node.sent_dicom()
    link = re.search(rf"{pages.url}/results/rn_[0-9a-f]+", report.to_json(suppress_invalid_tags=True))
    assert link is not None
    with pages.browser() as browser:
        login = browser.get(link[0].removeprefix(pages.url), follow_redirects=True)
        assert login.url.path == "/login"
        assert "MARKER" not in login.text
        form = {name: re.findall(rf'name="{name}" value="([^"]+)"', login.text)[-1] for name in ("form_token", "then")}
        page = browser.post("/login", data={**form, "login": "rao", "password": PASSWORD}, follow_redirects=True)
        assert page.url.path == f"/results/{pages.key}"
        assert "MARKERNAME Mina" in page.text
        assert all(cookie.secure for cookie in browser.cookies.jar)
        assert browser.get("/accession", params={"number": ACCESSION}).headers["location"] == f"/results/{pages.key}"
        shown = cv2.imdecode(np.frombuffer(browser.get(f"/results/{pages.key}/image.png").content, np.uint8), cv2.IMREAD_GRAYSCALE)
        rows, columns = pages.source.Rows, pages.source.Columns
        assert abs(shown.shape[0] / shown.shape[1] - rows / columns) < 0.01
        sent = pages.source.pixel_array.astype(np.float32)
        sent = cv2.resize(sent, shown.shape[::-1], interpolation=cv2.INTER_AREA)
        assert abs(np.corrcoef(sent.ravel(), shown.ravel())[0, 1]) > 0.9
        assert browser.get(f"/results/{pages.key}/map/0.png").status_code == 200
        hidden = {name: re.findall(rf'name="{name}" value="([^"]+)"', page.text)[-1] for name in ("form_token", "ticket")}
        kept = browser.post(f"/results/{pages.key}/answer", data={**hidden, "answer": "accept"}, follow_redirects=True)
        assert "Kept: accepted." in kept.text
    with pages.node.rooms.database.connect() as connection:
        (row,) = connection.execute(sa.select(tables.verdict)).all()
    assert (row.run_key, row.verdict, row.strength, row.reader_role) == (pages.key, "accepted", "strong", "radiologist")
    story = pages.node.story(str(pages.source.StudyInstanceUID))
    assert any(line["event"] == "answer.recorded" for line in story["story"])


def test_nothing_of_the_patient_gets_out_beside_the_page(pages: Pages) -> None:
    """Not without a login, not by a foreign name, not in the log."""
    with pages.browser() as browser:
        for path in (
            f"/results/{pages.key}",
            f"/results/{pages.key}/image.png",
            f"/accession?number={ACCESSION}",
            "/worklist.json",
        ):
            assert browser.get(path).status_code == 303, path
            assert browser.get(path, headers={"Host": "evil.example"}).status_code == 421, path
        for path in ("/healthz", "/readyz", "/metrics"):
            assert "MARKER" not in browser.get(path, headers={"Host": LOOPBACK}).text
    log = pages.log.read_text()
    assert "/accession" in log
    assert "MARKER" not in log
    assert str(pages.source.StudyInstanceUID) not in log
