"""Answered again, half answered, answered elsewhere: the page says what is so, loses nothing, and shows what was written."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx import Response

from dicom_node.core.feedback import Channel, Claim, ReaderClaim, Statement, Targets, Verdict
from dicom_node.core.findings import Abstention, Decision, Finding, Findings, NotRead, PolicyRef, Zone
from dicom_node.feedback.step import record
from dicom_node.feedback.tasks import open_task
from dicom_node.store import tables
from dicom_node.store.erasure import erase_study
from tests.factories import shown_results
from tests.factories.shown_results import ACCESSION, Office, browser


def send(client: TestClient, key: str, **fields: Any) -> Response:
    """Open the page and send a form."""
    page = client.get(f"/results/{key}").text
    hidden = {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[-1] for name in ("form_token", "ticket")}
    answer: Response = client.post(f"/results/{key}/answer", data={**hidden, **fields})
    return answer


def in_the_pacs(made: Office, key: str, verdict: Verdict, comment: str = "") -> None:
    """Let the same radiologist answer by an object of the PACS."""
    claim = Claim(
        Channel.ASSESSMENT,
        f"2.25.{verdict}",
        dt.datetime.now(dt.UTC),
        Targets(run_key=key),
        ReaderClaim("dicom", "Rao^Asha^^Dr.", authenticated=True),
        (Statement(verdict),),
        comment=comment,
    )
    with made.database.begin() as connection:
        assert record(connection, claim, desk=made.site.desk).state == "read"


def history(page: str) -> list[str]:
    """Return the answers that the page lists, the newest first, as plain words."""
    items = re.findall(r'<li class="(?:past)?">(.*?)</li>', page, re.S)
    return [" ".join(re.sub(r"<[^>]+>", " ", item).split()) for item in items]


def test_what_was_told_is_told_only_while_it_is_so(made: Office) -> None:
    """Back in the browser after the answer was changed: the page does not say again that the old one was kept."""
    key = made.add_result()
    client = browser(made)
    told = "Kept: accepted."
    assert told not in client.get(f"/results/{key}?told=accept").text  # a link alone answers nothing, and says so
    accepted = send(client, key, answer="accept").headers["location"]
    assert told in client.get(accepted).text
    assert told not in browser(made, "young").get(accepted).text
    amended = send(client, key, answer="amend", **{"label.abnormal": "absent"}).headers["location"]
    assert "Kept: amended." in client.get(amended).text
    assert told not in client.get(accepted).text
    taken_back = send(client, key, answer="withdraw").headers["location"]
    assert "is taken back" in client.get(taken_back).text
    for earlier in (accepted, amended):
        assert "Kept: " not in client.get(earlier).text
    in_the_pacs(made, key, Verdict.REJECTED)
    assert "Kept: " not in client.get(taken_back).text


def test_the_page_and_the_pacs_at_once(made: Office) -> None:
    """Accepted on the page, rejected in the PACS by the same person: the later counts, both are listed with their way."""
    key = made.add_result()
    client = browser(made)
    assert send(client, key, answer="accept").status_code == 303
    in_the_pacs(made, key, Verdict.REJECTED, comment="nipple shadow")
    newest, first = history(client.get(f"/results/{key}").text)
    assert newest.startswith("Rejected counts now You,")
    assert newest.endswith("by an assessment report nipple shadow")
    assert first.startswith("Accepted You,")
    assert first.endswith("on the page")
    assert [row.strength for row in made.verdicts()] == ["strong", "strong"]


def test_what_was_written_is_shown_to_those_who_see_the_patient_until_it_is_erased(made: Office) -> None:
    """The comment and the number of regions stand with the answer; markup in it is text; the story and the log have none of it."""
    key = made.add_result()
    drawn = json.dumps([{"points": [[10, 10], [90, 80]]}, {"points": [[10, 10], [90, 80], [50, 90]]}])
    fields = {"answer": "reject", "reason": "wrong_region", "comment": "<b>scar</b>\r\nsince 1998", "regions": drawn}
    assert send(browser(made), key, **fields).status_code == 303
    page = browser(made, "young").get(f"/results/{key}").text
    assert "&lt;b&gt;scar&lt;/b&gt;\nsince 1998" in page
    assert "(2 regions drawn)" in page
    assert "Rejected (wrong region)" in history(page)[0]
    assert "scar" not in browser(made, "it").get("/studies/st_one").text
    assert "scar" not in str(made.verdicts())
    with made.database.begin() as connection:
        erase_study(connection, "st_one", 0.0)
        connection.execute(sa.update(tables.run).where(tables.run.c.run_key == key).values(state="analysed"))
    assert "scar" not in browser(made).get(f"/results/{key}").text


def test_findings_have_their_names(made: Office) -> None:
    """Not the key of the model's output."""
    key = made.add_result()
    assert send(browser(made), key, answer="amend", **{"label.tuberculosis": "present"}).status_code == 303
    assert history(browser(made).get(f"/results/{key}").text)[0].startswith("Amended Tuberculosis: present")


def test_a_form_that_cannot_be_taken_comes_back_filled_in(made: Office) -> None:
    """Nothing that was chosen, written or drawn is to be done again; only the form that was sent is open."""
    key = made.add_result()
    drawn = json.dumps([{"points": [[10, 10], [90, 80]], "finding": "pneumonia", "sign": -1, "place": 0}])
    fields = {"likely.pneumonia": "3", "confidence": "4", "comment": 'two "words"', "regions": drawn, "reason": "laterality"}
    fields |= {"label.abnormal": "absent", "reference": "culture", "reference_date": "2026-11-19"}
    answer = send(browser(made), key, answer="amend", **fields)
    assert answer.status_code == 422
    assert "pneumonia is present, absent or unsure" in answer.text
    page = answer.text
    for name, value in (("label.abnormal", "absent"), ("likely.pneumonia", "3"), ("confidence", "4")):
        assert f'name="{name}" value="{value}" checked' in page, name
    assert len(re.findall(r'type="radio"[^>]* checked', page)) == 3
    assert page.count(" selected") == 2
    for kept in ('<option value="laterality" selected>', '<option value="culture" selected>', 'value="2026-11-19"'):
        assert kept in page, kept
    assert page.count("two &#34;words&#34;</textarea>") == 1
    assert page.count(drawn.replace('"', "&#34;")) == 1
    assert re.search(r'<details id="amend-part" open>', page)
    assert not re.search(r'<details id="reject-part" open>', page)
    assert "<title>Not recorded: AI result</title>" in page
    assert made.verdicts() == []
    fields["label.pneumonia"], fields["reference_value"] = "absent", "negative"
    assert send(browser(made), key, answer="amend", **fields).status_code == 303
    page = send(browser(made), key, answer="reject", comment="not this").text
    assert re.search(r'<details id="reject-part" open>', page)
    assert page.count("not this</textarea>") == 1


def test_a_comment_is_as_long_as_the_browser_counts_it(made: Office) -> None:
    """A line's end is one character in the field and two on the way."""
    key = made.add_result()
    assert send(browser(made), key, answer="accept", comment="x\r\n" * 1000).status_code == 303
    assert made.private()[0]["comment"] == ("x\n" * 1000).strip()


@pytest.mark.parametrize(("zone", "said"), [(Zone.GRAY, True), (Zone.SUSPECTED, False)])
def test_what_accepting_a_result_that_takes_no_side_means_is_said(
    made: Office, monkeypatch: pytest.MonkeyPatch, zone: Zone, said: bool
) -> None:
    """It labels nothing, so a reader who knows is asked to amend. A zone of no width is none, and no guarantee is called that."""
    finding = Finding("abnormal", shown_results.findings("1.2").findings[0].code, Decision.POSITIVE, 0.61, 0.5, 0.5, 0.5)
    policy = PolicyRef("published", "b" * 64, False, "none: fitted on nobody")
    other = replace(shown_results.findings("1.2"), zone=zone, findings=(finding,), policy=policy)
    monkeypatch.setattr(shown_results, "findings", lambda _uid, _picture: other)
    page = browser(made).get(f"/results/{made.add_result()}").text
    assert ("takes no side" in page) is said
    assert "At or above the threshold 0.50</div>" in page
    assert "gray zone" not in page
    assert "Policy &#34;published&#34;: no guarantee: fitted on nobody." in page


def test_what_the_ai_said_is_not_seen_in_passing(made: Office) -> None:
    """Lists do not tell it to people who may be asked to read first; who opens the study's page has seen it, and it is noted."""
    key, other = made.add_result("one"), made.add_result("two")
    with made.database.begin() as connection:
        tasks = [open_task(connection, "random_audit", run, f"st_{run[3:6]}", "audit") for run in (key, other)]
    client, headline = browser(made), "Abnormal, above the threshold."
    for page in ("/", "/worklist", f"/accession?number={ACCESSION}"):
        assert headline not in client.get(page).text, page
    assert headline in browser(made, "it").get("/").text
    assert client.get(f"/accession?number={ACCESSION}").text.count("2026-11-20, Chest PA") == 2
    client.get("/studies/st_one", headers={"Sec-Purpose": "prefetch"})
    assert made.exposures() == 0
    assert headline in client.get("/studies/st_one").text
    assert made.exposures() == 1
    assert headline in client.get(f"/results/{key}?task={tasks[0]}").text  # not blinded any more
    assert headline not in client.get(f"/results/{other}?task={tasks[1]}").text
    assert headline in browser(made, "it").get("/studies/st_two").text  # who cannot answer has not spoiled anything
    assert headline not in client.get(f"/results/{other}?task={tasks[1]}").text


def test_a_held_study_still_says_why_on_the_list(made: Office) -> None:
    """The reason says nothing of the patient."""
    made.add_result()
    with made.database.begin() as connection:
        connection.execute(sa.update(tables.study).values(state="held", hold_reason="patient_conflict"))
    assert "Images of two patients share one study." in browser(made).get("/").text


def test_images_left_are_on_the_page(made: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reason once, with its number; a refusal that says it of the only image is not said twice."""
    whole = shown_results.findings("1.2")
    left = tuple(NotRead(f"1.{n}", "not_frontal", "View Position is LL") for n in range(2))
    monkeypatch.setattr(shown_results, "findings", lambda _uid, _picture: replace(whole, not_read=left))
    page = browser(made).get(f"/results/{made.add_result()}").text
    assert page.count("<li>Not read: Not a frontal (PA or AP) view. View Position is LL. (2 images)</li>") == 1
    refusal = Findings("cxr_tb", not_read=left[:1], abstention=Abstention("not_frontal", "View Position is LL"))
    monkeypatch.setattr(shown_results, "findings", lambda _uid, _picture: refusal)
    page = browser(made).get(f"/results/{made.add_result('two', state='not_analysed')}").text
    assert page.count("View Position is LL.") == 1


def test_the_study_s_page_gives_reasons_in_words(made: Office) -> None:
    """Not their keys."""
    key = made.add_result()
    with made.database.begin() as connection:
        summary = connection.execute(sa.select(tables.run.c.summary)).scalar_one()
        left = [{"reason": "not_frontal", "detail": "View Position is LL"}]
        connection.execute(sa.update(tables.run).where(tables.run.c.run_key == key).values(summary={**summary, "not_read": left}))
    page = browser(made).get("/studies/st_one").text
    assert "<td>Not a frontal (PA or AP) view. View Position is LL.</td>" in page
