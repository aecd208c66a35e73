"""The page of a result and the ways to it: what it shows, what it takes, what it refuses."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx import Response

from dicom_node.core.findings import Abstention, Findings
from dicom_node.feedback.tasks import open_task
from dicom_node.inference.shown import Shown
from dicom_node.store import tables
from dicom_node.studies import opt_outs
from dicom_node.web.answer_form import read_answer
from tests.factories import shown_results
from tests.factories.shown_results import ACCESSION, NAME, PATIENT, READERS, Office, browser


def hidden(page: Response) -> dict[str, str]:
    """Return what the page's forms carry."""
    return {name: re.findall(rf'name="{name}" value="([^"]+)"', page.text)[-1] for name in ("form_token", "ticket")}


def send(client: TestClient, key: str, more: str = "", **fields: Any) -> Response:
    """Open the page and send a form."""
    form = {**hidden(client.get(f"/results/{key}{more}")), **fields}
    return client.post(f"/results/{key}/answer", data=form)


def test_what_accepting_a_refusal_means_is_said(made: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not analysed is not normal; no map is spoken of where there is none."""
    refusal = Findings(pipeline="cxr_tb", abstention=Abstention("not_frontal"))
    monkeypatch.setattr(shown_results, "findings", lambda _uid, _picture: refusal)
    text = browser(made).get(f"/results/{made.add_result(state='not_analysed')}").text
    assert "This is not a normal result." in text
    assert "Reject: it is wrong, this study should have been analysed." in text
    assert "A map shows" not in text
    monkeypatch.undo()
    text = browser(made).get(f"/results/{made.add_result('other')}").text
    assert "A map shows" in text
    assert "should have been analysed" not in text


def test_the_page_says_whose_it_is_and_what_it_is_worth(made: Office) -> None:
    """Patient, findings, threshold, flags, model, banners."""
    key = made.add_result()
    text = browser(made).get(f"/results/{key}").text
    for said in (
        *("MARKER Mina", PATIENT, ACCESSION, "1961-07-04", "Chest PA"),
        *("RESEARCH USE ONLY", "UNVALIDATED MODEL", "SYNTHETIC", "PRELIMINARY, UNVERIFIED"),
        *("Abnormal, above the threshold.", "0.91", "0.42", "not assessed", "under-exposed"),
        *("cxr_demo@1.0.0", "Sensitivity at least 0.90", "Silence is not acceptance"),
    ):
        assert said in text, said
    assert "<script>" not in text
    assert not re.search(r"\son\w+=|style=", text)


def test_pictures_are_pngs_of_the_image_and_its_map(made: Office) -> None:
    """Of the same size, the map transparent where nothing is coloured and strongest where the model looked; no other file."""
    import cv2
    import numpy as np

    key = made.add_result()
    client = browser(made)
    image = client.get(f"/results/{key}/image.png")
    assert image.headers["content-type"] == "image/png"
    gray = cv2.imdecode(np.frombuffer(image.content, np.uint8), cv2.IMREAD_UNCHANGED)
    colours = cv2.imdecode(np.frombuffer(client.get(f"/results/{key}/map/0.png").content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert gray.shape == (640, 560)
    assert (gray == 90).all()
    assert colours.shape == (640, 560, 4)
    assert colours[600, 500, 3] == 0
    assert colours[280, 175, 3] > 60
    assert colours[280, 175, 2] > colours[280, 175, 0]  # red, not blue
    for path in (
        f"/results/{key}/map/1.png",
        f"/results/{key}/map/-1.png",
        "/results/..%2f..%2fx/image.png",
        "/results/rn_x/image.png",
    ):
        assert client.get(path).status_code in (404, 422), path


def test_a_ct_shows_its_key_slices_with_their_words(made: Office) -> None:
    """Where each lies, who chose it, what it got; pictures and maps by place; a blinded reader gets the places alone."""
    key = made.add_result(slices=3)
    client = browser(made)
    text = client.get(f"/results/{key}").text
    for n, (image, probability) in enumerate(((57, "0.90"), (58, "0.80"), (59, "0.70")), start=1):
        assert f"Key slice {n} of 3: series 2, image {image}, marked by a person. On this slice: {probability}" in text
    pictures = [client.get(f"/results/{key}/image.png?place={n}") for n in range(4)]
    assert [one.status_code for one in pictures] == [200, 200, 200, 404]
    assert len({one.content for one in pictures}) == 4
    assert pictures[0].content == client.get(f"/results/{key}/image.png").content
    maps = [client.get(f"/results/{key}/map/0.png?place={n}") for n in (0, 1, 3, -1)]
    assert [one.status_code for one in maps] == [200, 200, 404, 404]
    assert maps[0].content != maps[1].content
    with made.database.begin() as connection:
        task = open_task(connection, "random_audit", key, "st_one", "audit", time.time() + 60)
    blinded = browser(made, "young").get(f"/results/{key}?task={task}").text
    assert "Key slice 1 of 3: series 2, image 57." in blinded
    assert "/map/" not in blinded
    assert "0.90" not in blinded
    assert "Key slice" not in client.get(f"/results/{made.add_result('two')}").text


@pytest.mark.parametrize(("place", "status"), [(0, 303), (1, 303), (2, 303), (3, 422), (-1, 422), ("x", 422)])
def test_a_region_names_the_picture_it_was_drawn_on(made: Office, place: Any, status: int) -> None:
    """By its place on the page; one that is not there is no drawing of ours, and nothing is recorded."""
    key = made.add_result(slices=3)
    drawn = json.dumps([{"points": [[1, 2], [30, 40]], "place": place}])
    fields = {"answer": "reject", "reason": "wrong_region", "regions": drawn}
    assert send(browser(made), key, **fields).status_code == status
    regions = [one["regions"] for one in made.private()]
    assert [one["sop_instance_uid"][-2:] for row in regions for one in row] == ([f".{place}"] if status == 303 else [])


def test_a_region_on_a_frame_says_which_frame() -> None:
    """Of an Enhanced CT; of a single image it is the first."""
    pictures = [Shown("1.1", (64, 64), (64, 64), (), frame=7), Shown("1.2", (64, 64), (64, 64), ())]
    drawn = json.dumps([{"points": [[1, 2], [3, 4]], "place": n} for n in (0, 1)])
    said = read_answer({"answer": "reject", "reason": "wrong_region", "regions": drawn}, (), pictures)
    assert [(one.sop_instance_uid, one.frame) for one in said.regions] == [("1.1", 7), ("1.2", 1)]


def test_a_form_counts_once_and_only_from_this_page(made: Office) -> None:
    """Without token, with another session's, with another result's or a made-up ticket nothing is recorded."""
    one, two = made.add_result("one"), made.add_result("two")
    client, other = browser(made), browser(made, "young")
    mine, theirs = hidden(client.get(f"/results/{one}")), hidden(other.get(f"/results/{one}"))
    of_two = hidden(client.get(f"/results/{two}"))
    refused = (
        {"ticket": mine["ticket"]},
        {**mine, "form_token": theirs["form_token"]},
        {**mine, "ticket": theirs["ticket"]},
        {**mine, "ticket": of_two["ticket"]},
        {**mine, "ticket": mine["ticket"][:-1] + "x"},
        {**mine, "ticket": "x"},
    )
    for form in refused:
        answer = client.post(f"/results/{one}/answer", data={**form, "answer": "accept"})
        assert answer.status_code == 403
        assert "Nothing was recorded" in answer.text
    assert made.verdicts() == []
    for _ in range(2):
        assert client.post(f"/results/{one}/answer", data={**mine, "answer": "accept"}).status_code == 303
    assert len(made.verdicts()) == 1
    # the same view, another answer: not taken in silence
    again = client.post(f"/results/{one}/answer", data={**mine, "answer": "reject", "reason": "other"})
    assert again.headers["location"].endswith("told=again")
    assert "Nothing was added" in client.get(again.headers["location"]).text
    assert len(made.verdicts()) == 1


def test_accept_reject_accept_are_three_rows(made: Office) -> None:
    """Each from a page of its own; the last counts, and the page says which."""
    key = made.add_result()
    client = browser(made)
    for fields in ({"answer": "accept"}, {"answer": "reject", "reason": "laterality"}, {"answer": "accept"}):
        assert send(client, key, **fields).status_code == 303
    assert [row.verdict for row in made.verdicts()] == ["accepted", "rejected", "accepted"]
    page = client.get(f"/results/{key}").text
    assert page.count("counts now") == 1
    assert "You" in page
    assert "Dr. Asha Rao" in browser(made, "young").get(f"/results/{key}").text
    assert "Take my answers back" in page
    assert send(client, key, answer="withdraw").status_code == 303
    page = client.get(f"/results/{key}").text
    assert "counts now" not in page
    assert "Take my answers back" not in page


@pytest.mark.parametrize(
    ("login", "strength", "role"), [("rao", "strong", "radiologist"), ("young", "weak", "trainee"), ("tech", "weak", "")]
)
def test_only_a_radiologist_is_strong(made: Office, login: str, strength: str, role: str) -> None:
    """A trainee, and a login that readers does not name, are kept as weak."""
    key = made.add_result()
    assert send(browser(made, login), key, answer="accept").status_code == 303
    (row,) = made.verdicts()
    assert (row.strength, row.reader_role) == (strength, role)
    assert login not in str(row)


def test_a_session_that_ended_records_nothing_and_says_so(made: Office) -> None:
    """The form is refused with a way to log in and come back."""
    key = made.add_result()
    client = browser(made)
    form = hidden(client.get(f"/results/{key}"))
    with made.database.begin() as connection:
        connection.execute(sa.delete(tables.web_session))
    answer = client.post(f"/results/{key}/answer", data={**form, "answer": "accept"})
    assert answer.status_code == 401
    assert "Nothing was recorded" in answer.text
    assert f"then=%2Fresults%2F{key}" in answer.text
    assert made.verdicts() == []


def test_a_replaced_or_withdrawn_result_is_shown_and_not_answered(made: Office) -> None:
    """The newer one is linked; a form that was open meanwhile is refused."""
    first = made.add_result()
    client = browser(made)
    form = hidden(client.get(f"/results/{first}"))
    second = made.add_result(revision=2)
    page = client.get(f"/results/{first}").text
    assert f'href="/results/{second}"' in page
    assert 'id="accept"' not in page
    late = client.post(f"/results/{first}/answer", data={**form, "answer": "accept"})
    assert late.status_code == 409
    assert made.verdicts() == []
    with made.database.begin() as connection:
        connection.execute(sa.update(tables.run).where(tables.run.c.run_key == second).values(state="withdrawn"))
    page = client.get(f"/results/{second}").text
    assert "was withdrawn" in page
    assert 'id="accept"' not in page
    assert client.get("/results/rn_nobody").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"answer": "maybe"},
        {"answer": "reject"},
        {"answer": "reject", "reason": "mood"},
        {"answer": "amend"},
        {"answer": "amend", "likely.abnormal": "3"},
        {"answer": "amend", "label.abnormal": "perhaps"},
        {"answer": "amend", "label.abnormal": "present", "confidence": "9"},
        {"answer": "amend", "label.abnormal": "present", "reference": "culture"},
        {"answer": "amend", "label.abnormal": "present", "regions": "[{}]"},
        {"answer": "amend", "label.abnormal": "present", "regions": '[{"points": [[1, 1], [9999, 2]]}]'},
        {"answer": "amend", "label.abnormal": "present", "regions": '[{"points": [[1, 1], [NaN, 2]]}]'},
        {"answer": "accept", "comment": "x" * 2001},
    ],
)
def test_half_an_answer_is_none(made: Office, fields: dict[str, str]) -> None:
    """Nothing is recorded, and the page says what is missing."""
    key = made.add_result()
    answer = send(browser(made), key, **fields)
    assert answer.status_code == 422
    assert "Nothing was recorded." in answer.text
    assert made.verdicts() == []


def test_an_amendment_with_a_reference(made: Office) -> None:
    """What is right is accepted, what is not amended; the reference's date is erasable, its kind is not."""
    key = made.add_result()
    fields = {"label.abnormal": "absent", "label.pneumonia": "absent", "label.tuberculosis": "present", "likely.tuberculosis": "4"}
    reference = {"reference": "culture", "reference_value": "positive", "reference_date": "2026-11-19"}
    assert send(browser(made), key, answer="amend", reason="wrong_region", **fields, **reference).status_code == 303
    rows = [(row.finding, row.verdict, row.label_after, row.assessment) for row in made.verdicts()]
    assert rows == [
        ("abnormal", "amended", "absent", None),
        ("pneumonia", "accepted", "absent", None),
        ("tuberculosis", "amended", "present", 1.0),
    ]
    row = made.verdicts()[0]
    assert (row.reference_standard, row.reference_value, row.reason) == ("culture", "positive", "wrong_region")
    assert "20261119" not in str(row)
    assert "20261119" in str(made.private()[0])


def test_who_has_seen_the_result_does_not_read_blinded(made: Office) -> None:
    """An audit opened after the result itself is no blinded read; and a blinded form cannot simply accept."""
    seen, fresh = made.add_result("one"), made.add_result("two")
    with made.database.begin() as connection:
        tasks = [open_task(connection, "low_consensus", key, f"st_{name}", "x") for key, name in ((seen, "one"), (fresh, "two"))]
    client = browser(made)
    client.get(f"/results/{seen}")
    assert "above the threshold" in client.get(f"/results/{seen}?task={tasks[0]}").text
    assert "above the threshold" not in client.get(f"/results/{fresh}?task={tasks[1]}").text
    assert send(client, fresh, f"?task={tasks[1]}", answer="accept").status_code == 422
    assert send(client, fresh, f"?task={tasks[1]}", answer="amend", **{"label.abnormal": "present"}).status_code == 303
    (row,) = made.verdicts()
    assert (row.ai_shown, row.context) == (False, "blinded_first_read")
    assert client.get("/worklist.json").json() == [task for task in client.get("/worklist.json").json() if task["run_key"] == seen]


def test_the_worklist_is_sorted_and_gives_nothing_away(made: Office) -> None:
    """The nearest due first; what is another's is not shown, nor that a case is golden, nor what the reader has answered."""
    keys = {name: made.add_result(name) for name in ("one", "two", "three", "four")}
    now = time.time()
    with made.database.begin() as connection:
        open_task(connection, "gray_zone", keys["one"], "st_one", "A person must look.", now + 7200)
        open_task(connection, "golden_case", keys["two"], "st_two", "golden", now - 60)
        open_task(connection, "amend", keys["three"], "st_three", "Asked for.", reader=made.site.reader_of("young"))
        open_task(connection, "low_consensus", keys["four"], "st_four", "Readers differ.", now + 60)
    client = browser(made)
    listed = client.get("/worklist.json").json()
    assert [task["study_key"] for task in listed] == ["st_two", "st_four", "st_one"]
    assert listed[0]["kind"] == "random_audit"
    text = client.get("/worklist").text + str(listed)
    assert "golden" not in text
    assert "Readers differ" not in text
    assert NAME not in text
    assert "late by" in text
    assert [task["kind"] for task in browser(made, "young").get("/worklist.json").json()][-1] == "amend"


def test_accession_numbers_lead_to_the_result(made: Office) -> None:
    """One: there. Several: a list to choose from. None: said. And never without a login."""
    client = browser(made)
    assert client.get("/accession", params={"number": ACCESSION}).status_code == 404
    first = made.add_result("one")
    assert client.get("/accession", params={"number": ACCESSION}).headers["location"] == f"/results/{first}"
    newer = made.add_result("one", revision=2)
    assert client.get("/accession", params={"number": ACCESSION}).headers["location"] == f"/results/{newer}"
    second = made.add_result("two")
    page = client.get("/accession", params={"number": ACCESSION})
    assert page.status_code == 200
    assert f"/results/{newer}" in page.text
    assert f"/results/{second}" in page.text
    assert f"/results/{first}" not in page.text
    assert client.get("/accession", params={"number": ACCESSION[:-1]}).status_code == 404
    assert client.get("/accession").status_code == 404
    assert TestClient(made.app, base_url="http://127.0.0.1").get("/accession", params={"number": ACCESSION}).url.path == "/login"


def test_answers_that_wait_are_shown_to_who_looks_after_the_node(made: Office) -> None:
    """Quarantined messages and suspended senders, without a patient; the front page tells of the senders, too."""
    with made.database.begin() as connection:
        values = {"at_utc": time.time(), "channel": "hl7", "source": "x", "state": "quarantined", "text": "It matches no result."}
        connection.execute(sa.insert(tables.answer_message).values(**values))
        connection.execute(
            sa.insert(tables.answer_channel).values(name="PACS1", suspended_utc=time.time(), why="Too many a minute.")
        )
    for page in ("/answers", "/"):
        assert "PACS1" in browser(made, "it").get(page).text
    assert "It matches no result." in browser(made, "it").get("/answers").text


def test_opt_outs_by_http(made: Office) -> None:
    """Kept as a hash, with who may; wrong ones are refused with a sentence."""
    client = browser(made, "boss")
    form = {"form_token": re.findall(r'name="form_token" value="([^"]+)"', client.get("/opt-outs").text)[-1]}
    sent = client.post("/opt-outs", data={**form, "patient_id": PATIENT, "scope": "analysis", "action": "add"})
    assert sent.headers["location"] == "/opt-outs?told=kept"
    with made.database.connect() as connection:
        assert opt_outs.opted_out(connection, made.site.home, [PATIENT], "analysis")
        assert not opt_outs.opted_out(connection, made.site.home, [PATIENT], "learning")
        assert [row.source for row in opt_outs.listed(connection)] == ["http"]
    assert client.post("/opt-outs", data={**form, "patient_id": " ", "scope": "both"}).status_code == 422
    assert client.post("/opt-outs", data={"patient_id": PATIENT, "scope": "both"}).status_code == 403
    assert browser(made).post("/opt-outs", data={**form, "patient_id": PATIENT}).status_code == 403
    gone = client.post("/opt-outs", data={**form, "patient_id": PATIENT, "scope": "analysis", "action": "remove"})
    assert gone.headers["location"] == "/opt-outs?told=gone"


def test_looking_is_noted_with_the_reader(made: Office) -> None:
    """Who has opened the page: a pseudonym, and no answer."""
    key = made.add_result()
    browser(made).get(f"/results/{key}")
    with made.database.connect() as connection:
        (row,) = connection.execute(sa.select(tables.exposure)).all()
    assert row.reader == made.site.reader_of("rao")
    assert row.reader.startswith("rd_")
    assert READERS[0].name not in str(row)
    assert made.verdicts() == []


def test_a_result_without_its_files_can_still_be_answered(made: Office) -> None:
    """Retention deleted them: the summary stands, nothing can be drawn, accept and reject are there."""
    import shutil

    key = made.add_result()
    shutil.rmtree(made.site.home.results / key)
    client = browser(made)
    page = client.get(f"/results/{key}")
    assert page.status_code == 200
    assert "No picture is kept" in page.text
    assert "Abnormal, above the threshold." in page.text
    assert send(client, key, answer="accept").status_code == 303
    assert len(made.verdicts()) == 1
