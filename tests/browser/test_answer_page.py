"""The answer page in a real browser (headless Chromium), by keyboard and by mouse: each answer one right row, looking none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dicom_node.feedback.tasks import open_task
from dicom_node.web import sessions
from dicom_node.web.server import HttpPort
from models.phantoms.cxr import chest_phantom
from tests.factories.shown_results import PASSWORD, ROLES, SHAPE, Office, office

CHROMIUM = "/usr/bin/chromium"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has a context of its own."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A chest phantom as the page shows it."""
    image, _, _ = chest_phantom(seed=3, size=640, abnormal=True)
    return (np.clip(cv2.resize(image, (560, 640)), 0, 1) * 255).astype(np.uint8)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Office]:
    """A node with pages."""
    node = office(tmp_path)
    door = HttpPort(node.app, name="web", host="127.0.0.1", port=0).start()
    node.url = f"http://127.0.0.1:{door.port}"  # type: ignore[attr-defined]
    yield node
    door.stop()
    node.database.dispose()


def url(made: Office, path: str = "") -> str:
    """Return an address of the node."""
    return f"{made.url}{path}"  # type: ignore[attr-defined]


def page_of(browser: Browser, made: Office, login: str = "rao", size: dict[str, int] = DESK) -> Page:
    """Return a page on which somebody is logged in; what goes wrong in its scripts fails the test."""
    context = browser.new_context(viewport=size)  # type: ignore[arg-type]
    context.set_default_timeout(5000)
    value = sessions.begin(made.database, login, ROLES[login], hours=1)
    context.add_cookies([{"name": "ainode", "value": value, "url": url(made), "httpOnly": True}])
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.problems = problems  # type: ignore[attr-defined]
    return page


def opened(page: Page, made: Office, run_key: str, more: str = "") -> None:
    """Open a result."""
    page.goto(url(made, f"/results/{run_key}{more}"))
    expect(page.locator(".board")).to_be_visible()


def rows(made: Office) -> list[tuple[Any, ...]]:
    """Return what was recorded, in short."""
    return [(row.verdict, row.finding, row.label_after, row.reason, row.strength, row.context) for row in made.verdicts()]


def test_accept_by_key_is_one_strong_row(browser: Browser, made: Office) -> None:
    """Not logged in: the login, then back to the result; A accepts; looking before was no answer."""
    key = made.add_result()
    page = browser.new_context(viewport=DESK).new_page()  # type: ignore[arg-type]
    page.goto(url(made, f"/results/{key}"))
    assert "/login" in page.url
    assert "MARKER" not in page.content()
    page.keyboard.type("rao")  # the field has the focus
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(url(made, f"/results/{key}"))
    expect(page.locator("h1")).to_have_text("MARKER Mina")
    assert rows(made) == []
    assert made.exposures() == 1
    page.wait_for_load_state()
    page.keyboard.press("a")
    expect(page.get_by_role("status").first).to_contain_text("Kept: accepted.")
    assert rows(made) == [("accepted", "", "", "", "strong", "after_ai")]
    assert made.verdicts()[0].channel == "web"
    assert made.verdicts()[0].seconds_spent is not None
    page.reload()
    page.go_back()
    assert len(rows(made)) == 1


def test_accept_by_mouse_twice_is_one_row(browser: Browser, made: Office) -> None:
    """A double click sends one form; sending the very form again adds nothing."""
    key = made.add_result()
    page = page_of(browser, made)
    opened(page, made, key)
    form = {"answer": "accept"} | {
        name: page.locator(f"input[name={name}]").last.input_value() for name in ("form_token", "ticket")
    }
    page.locator("#accept").dblclick()
    expect(page.get_by_role("status").first).to_contain_text("Kept: accepted.")
    assert len(rows(made)) == 1
    page.request.post(url(made, f"/results/{key}/answer"), form=form)
    assert len(rows(made)) == 1
    assert page.problems == []  # type: ignore[attr-defined]


def test_reject_by_keys_has_its_reason(browser: Browser, made: Office) -> None:
    """R, the reason's number, Enter."""
    key = made.add_result()
    page = page_of(browser, made)
    opened(page, made, key)
    for pressed in ("r", "a", "3"):  # A while reasons are open is not an answer
        page.keyboard.press(pressed)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Kept: rejected.")
    assert rows(made) == [("rejected", "", "", "artefact_or_marker", "strong", "after_ai")]
    assert page.problems == []  # type: ignore[attr-defined]


def test_amend_by_mouse_keeps_labels_map_and_drawing(browser: Browser, made: Office) -> None:
    """Classes, likelihood, the map, a box and a polygon: in pixels of the source, where they were drawn."""
    key = made.add_result()
    page = page_of(browser, made)
    opened(page, made, key)
    boxes = [page.locator(one).bounding_box() for one in (".stage .image", ".stage .map", "#drawing")]
    assert all(one is not None for one in boxes)
    image = boxes[0] or {}
    for other in boxes[1:]:  # the map lies on the image to the pixel
        assert all(abs((other or {})[side] - image[side]) < 1 for side in ("x", "y", "width", "height"))  # type: ignore[index]

    def at(column: float, row: float) -> tuple[float, float]:
        return image["x"] + column / SHAPE[1] * image["width"], image["y"] + row / SHAPE[0] * image["height"]

    page.locator("#box").click()
    page.mouse.move(*at(300, 250))
    page.mouse.down()
    page.mouse.move(*at(100, 400), steps=3)
    page.mouse.up()
    page.locator("#polygon").click()
    for corner in ((500, 500), (700, 520), (600, 800)):
        page.mouse.click(*at(*corner))
    page.keyboard.press("Enter")
    page.locator("#regions li").nth(1).get_by_label("What is there").select_option("pneumonia")
    page.locator("#regions li").nth(1).get_by_label("Is it there").select_option("-1")
    page.locator("#amend").click()
    page.locator("input[name='label.abnormal'][value=absent]").check()
    page.locator("input[name='label.pneumonia'][value=absent]").check()
    page.locator("#amend-form fieldset").filter(has_text="Abnormal").locator("summary").click()
    page.locator("input[name='likely.abnormal'][value='1']").check()
    page.locator("input[name='map.abnormal'][value=no]").check()
    page.locator("input[name=confidence][value='4']").check()
    page.locator("#amend-form textarea").fill("Breast shadow")
    page.locator("#send-amend").click()
    expect(page.get_by_role("status").first).to_contain_text("Kept: amended.")
    assert rows(made) == [
        ("amended", "abnormal", "absent", "", "strong", "after_ai"),
        ("accepted", "pneumonia", "absent", "", "strong", "after_ai"),
    ]
    first = made.verdicts()[0]
    assert (first.assessment, first.confidence, first.map_relevant) == (0.25, 4, "no")
    kept = str(made.private()[0])
    assert "Breast shadow" in kept
    drawn = [region for row in made.private() for region in row["regions"]]
    assert len(drawn) == 2
    assert np.allclose(drawn[0]["points"], [[100, 250], [300, 400]], atol=3)
    assert np.allclose(drawn[1]["points"], [[500, 500], [700, 520], [600, 800]], atol=3)
    assert [(one["finding"], one["sign"]) for one in drawn] == [("", 1), ("pneumonia", -1)]
    assert page.problems == []  # type: ignore[attr-defined]


def test_amend_by_keys_alone(browser: Browser, made: Office) -> None:
    """B draws a box that arrows move and size; M opens the form; blanks and Enter fill it in."""
    key = made.add_result()
    page = page_of(browser, made)
    opened(page, made, key)
    for pressed in ("b", "ArrowLeft", "ArrowUp", "Shift+ArrowRight", "m", "Space", "Enter"):
        page.keyboard.press(pressed)
    expect(page.get_by_role("status").first).to_contain_text("Kept: amended.")
    assert rows(made) == [("accepted", "abnormal", "present", "", "strong", "after_ai")]
    ((region),) = made.private()[0]["regions"]
    column, row = SHAPE[1] / 100, SHAPE[0] / 100
    assert np.allclose(region["points"], [[39 * column, 39 * row], [60 * column, 59 * row]], atol=0.1)
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_trainee_is_weak_and_nothing_said_is_refused(browser: Browser, made: Office) -> None:
    """An empty amendment records nothing and says so; a trainee's answer is kept, and never a label."""
    key = made.add_result()
    page = page_of(browser, made, "young")
    opened(page, made, key)
    page.locator("#amend").click()
    page.locator("#send-amend").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was recorded.")
    assert rows(made) == []
    page.wait_for_load_state()
    page.keyboard.press("Escape")
    page.locator("#accept").click()
    expect(page.locator(".history")).to_contain_text("weak: shown, never a label")
    assert rows(made) == [("accepted", "", "", "", "weak", "after_ai")]


def test_what_was_filled_in_and_drawn_survives_a_mistake(browser: Browser, made: Office) -> None:
    """Drawn on the second slice, written, and the class forgotten: told once, then one more click keeps it all."""
    key = made.add_result(slices=3)
    page = page_of(browser, made)
    opened(page, made, key)
    for pressed in ("ArrowRight", "b", "ArrowDown"):
        page.keyboard.press(pressed)
    page.locator("#regions li").get_by_label("Is it there").select_option("-1")
    page.locator("#amend").click()
    page.locator("#amend-form textarea").fill("Fissure")
    page.locator("input[name=confidence][value='4']").check()
    drawn = page.locator("#amend-form input[name=regions]").input_value()
    page.locator("#send-amend").click()
    expect(page.get_by_role("alert")).to_be_focused()  # so that a screen reader begins with it
    assert rows(made) == []
    expect(page.locator("#amend")).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#regions strong")).to_have_text("Region 1, slice 2")
    expect(page.locator("#regions").get_by_label("Is it there")).to_have_value("-1")
    expect(page.locator("#drawing .region")).not_to_be_visible()  # it lies on the second slice
    page.locator("#later").click()
    expect(page.locator("#drawing .region.not")).to_be_visible()
    assert page.locator("#amend-form input[name=regions]").input_value() == drawn
    expect(page.locator("#amend-form textarea")).to_have_value("Fissure")
    page.locator("input[name='label.pima'][value=absent]").check()
    page.locator("#send-amend").click()
    expect(page.get_by_role("status").first).to_contain_text("Kept: amended.")
    expect(page.get_by_role("status").first).to_be_focused()
    assert rows(made) == [("amended", "pima", "absent", "", "strong", "after_ai")]
    ((region),) = made.private()[0]["regions"]
    assert region["sop_instance_uid"].endswith(".1.1")
    expect(page.locator(".history .remark")).to_have_text("Fissure (1 region drawn)")
    assert [one for one in page.problems if "422" not in one] == []  # type: ignore[attr-defined]


def test_keys_of_one_letter_can_be_switched_off(browser: Browser, made: Office) -> None:
    """Who types blindly, or speaks to the machine, accepts nothing by it; the browser remembers. No letter is part of a name."""
    key = made.add_result()
    page = page_of(browser, made)
    opened(page, made, key)
    expect(page.get_by_role("button", name="Accept", exact=True)).to_have_attribute("aria-keyshortcuts", "a")
    page.locator(".keys-part summary").click()
    page.get_by_label("Keys of one letter work in this browser").uncheck()
    page.reload()
    expect(page.locator("#accept kbd")).not_to_be_visible()
    for pressed in ("a", "r", "m", "b", "o", "1", "n"):
        page.keyboard.press(pressed)
    expect(page.locator("#reject-part")).not_to_have_attribute("open", "")
    expect(page.locator("#drawing .region")).to_have_count(0)
    assert rows(made) == []
    page.locator(".keys-part summary").click()
    page.get_by_label("Keys of one letter work in this browser").check()
    page.keyboard.press("a")
    expect(page.get_by_role("status").first).to_contain_text("Kept: accepted.")
    assert page.problems == []  # type: ignore[attr-defined]


def shown_slice(page: Page) -> tuple[str, int, bool]:
    """Return the words under the picture, the gray that is seen in its corner, and whether a map lies on it."""
    words = page.locator(".slices span:not([hidden])").inner_text()
    box = page.locator("#stage").bounding_box() or {}
    pixels = page.screenshot(clip={"x": box["x"] + 4, "y": box["y"] + 4, "width": 4, "height": 4})  # type: ignore[index]
    gray = int(cv2.imdecode(np.frombuffer(pixels, np.uint8), cv2.IMREAD_GRAYSCALE)[1, 1])
    return words, gray, page.locator(".stage .map:not([hidden])").count() == 1


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_key_slices_turn_by_click_and_by_arrows_without_moving_anything(
    browser: Browser, made: Office, size: dict[str, int]
) -> None:
    """Each with its own picture, words and map; nothing else on the page moves; it ends at the first and the last."""
    key = made.add_result(slices=3)
    page = page_of(browser, made, size=size)
    opened(page, made, key)
    page.wait_for_load_state("load")
    watched = ("#stage", "#earlier", "#later", "#box", "#accept", ".headline")
    before = [page.locator(one).bounding_box() for one in watched]
    assert before[0]["width"] > 200  # type: ignore[index]
    first = ("Key slice 1 of 3: series 2, image 57, marked by a person. On this slice: 0.90.", 60, True)
    second = ("Key slice 2 of 3: series 2, image 58, marked by a person. On this slice: 0.80.", 100, True)
    assert shown_slice(page) == first
    page.locator("#later").click()
    assert shown_slice(page) == second
    page.keyboard.press("ArrowRight")
    words, gray, mapped = shown_slice(page)
    assert words.endswith("On this slice: 0.70. The map shows no positive evidence here.")
    assert (gray, mapped) == (140, False)
    page.keyboard.press("ArrowRight")
    assert shown_slice(page)[1] == 140
    expect(page.locator("#later")).to_have_attribute("aria-disabled", "true")
    assert [page.locator(one).bounding_box() for one in watched] == before
    page.keyboard.press("ArrowLeft")
    assert shown_slice(page) == second
    page.locator("#earlier").click()
    assert shown_slice(page) == first
    page.keyboard.press("o")
    page.keyboard.press("ArrowRight")
    assert shown_slice(page) == (*second[:2], False)
    assert rows(made) == []
    page.keyboard.press("a")
    expect(page.get_by_role("status").first).to_contain_text("Kept: accepted.")
    assert rows(made) == [("accepted", "", "", "", "strong", "after_ai")]
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_region_belongs_to_the_slice_on_which_it_was_drawn(browser: Browser, made: Office) -> None:
    """Arrows move a region that has the focus and turn no slice; on another slice it is not seen; the row names its image."""
    key = made.add_result(slices=3)
    page = page_of(browser, made)
    opened(page, made, key)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("b")  # in the middle, and it has the focus
    page.keyboard.press("ArrowRight")
    assert shown_slice(page)[0].startswith("Key slice 2 of 3")
    expect(page.locator("#regions strong")).to_have_text("Region 1, slice 2")
    page.locator("#later").click()
    expect(page.locator("#drawing .region")).not_to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#drawing .region")).to_be_visible()
    page.locator("#opacity").focus()
    page.keyboard.press("ArrowRight")  # moves the slider
    assert shown_slice(page)[0].startswith("Key slice 2 of 3")
    page.locator("#amend").click()
    page.locator("input[name='label.pima'][value=present]").check()
    page.locator("#send-amend").click()
    expect(page.get_by_role("status").first).to_contain_text("Kept:")
    ((region),) = made.private()[0]["regions"]
    assert region["sop_instance_uid"].endswith(".1.1")
    assert np.allclose(region["points"], [[0.41 * 512, 0.4 * 512], [0.61 * 512, 0.6 * 512]], atol=0.1)
    assert page.problems == []  # type: ignore[attr-defined]


def test_a_blinded_case_shows_the_result_afterwards(browser: Browser, made: Office) -> None:
    """Nothing of the AI is on the page before the reading is kept; a golden case looks like any audit; N goes on."""
    key, later = made.add_result("one"), made.add_result("two")
    with made.database.begin() as connection:
        open_task(connection, "golden_case", key, "st_one", "its truth is known", time.time() + 60)
        open_task(connection, "gray_zone", later, "st_two", "The result needs a person.", time.time() + 3600)
    page = page_of(browser, made)
    page.goto(url(made, "/worklist"))
    assert "olden" not in page.content()
    page.get_by_role("link", name="Audit").click()
    shown = page.content()
    for told in ("0.91", "Abnormal, above", "/map/", "golden", "its truth", "Under-exposed"):
        assert told not in shown
    assert made.exposures() == 0
    page.locator("input[name='label.abnormal'][value=absent]").check()
    page.locator("#send-amend").click()
    expect(page.locator(".headline")).to_have_text("Abnormal, above the threshold.")
    assert rows(made) == [("amended", "abnormal", "absent", "", "strong", "golden_case")]
    assert made.verdicts()[0].ai_shown is False
    assert made.exposures() == 1
    page.wait_for_load_state()  # the headline is there before the keys are listened to
    page.keyboard.press("n")
    page.wait_for_url(url(made, f"/results/{later}?task=*"))
    expect(page.locator(".headline")).to_have_text("Abnormal, above the threshold.")


def test_following_every_link_records_nothing(browser: Browser, made: Office) -> None:
    """A browser that fetches ahead, or a viewer that looks: GET is never an answer."""
    key = made.add_result()
    page = page_of(browser, made, "boss")
    todo, seen = [f"/results/{key}", f"/results/{key}/answer", f"/results/{key}?told=accept", "/logout"], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        page.request.get(url(made, path), fail_on_status_code=False)
        opened_page = page.goto(url(made, path))
        if opened_page is None or "text/html" not in opened_page.headers.get("content-type", ""):
            continue
        links = page.eval_on_selector_all(
            "[href], [src]", "all => all.map(one => one.getAttribute('href') || one.getAttribute('src'))"
        )
        todo += [link for link in links if link.startswith("/") and link not in seen and link not in todo]
    assert len(seen) > 8
    assert rows(made) == []
    page.request.get(url(made, f"/results/{key}"), headers={"Sec-Purpose": "prefetch"})
    before = made.exposures()
    page.request.get(url(made, f"/results/{key}"), headers={"Sec-Purpose": "prefetch"})
    assert made.exposures() == before


def test_screens_fit(
    browser: Browser, made: Office, picture: np.ndarray[Any, np.dtype[np.uint8]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Screenshots for people to look at; and what a machine can see: nothing is cut off, the answer is on the first screen."""
    key, ct = made.add_result(picture=picture), made.add_result("two", slices=3)
    folder = tmp_path_factory.mktemp("screens")
    for name, size in (("1280x800", DESK), ("390x844", PHONE)):
        page = page_of(browser, made, size=size)
        for what in (f"/results/{key}", f"/results/{ct}", "/worklist", "/login"):
            page.goto(url(made, what))
            page.wait_for_load_state("load")
            page.screenshot(path=folder / f"{what.replace('/', ' ').strip()} {name}.png")
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{what} at {name} is {wide} pixels too wide"
            if "results" in what:
                for answer in ("#accept", "#reject", "#amend"):
                    expect(page.locator(answer)).to_be_in_viewport(ratio=1)
                expect(page.locator(".headline")).to_be_in_viewport(ratio=1)
        assert page.problems == []  # type: ignore[attr-defined]
    print(f"screens lie in {folder}")
    assert len(list(folder.glob("*.png"))) == 8
