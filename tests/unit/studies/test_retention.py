"""Retention: what is delivered with its proof and old goes; everything else stays, and what comes again is stored anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicom_node.core.delivery import DeliveryState, Proof
from dicom_node.core.errors import UsageError
from dicom_node.core.run import Release
from dicom_node.feedback import tasks
from dicom_node.store import tables
from dicom_node.studies import retention, safekeeping
from dicom_node.studies.retention import Deleted, run_retention
from dicom_node.studies.settings import RetentionSettings
from dicom_node.studies.step import hold, hold_where_deleted
from tests.factories.deliverables import artifact, record_run, request
from tests.factories.received_objects import radiograph
from tests.factories.rejection_notes import rejection_note
from tests.unit.studies.conftest import Home

DAY = 86400.0
SETTINGS = RetentionSettings(keep_days_after_delivery=30)
PROOFS = {"pacs": "answer"}


def delivered(
    home: Home, key: str, *, state: str = DeliveryState.DONE, proof: str = Proof.ANSWER, release: str = "at_once"
) -> None:
    """Write a run of the study with one delivery, as they stand a second after its last image."""
    made = request(study_key=key, release=Release(release), run_key="rn_" + key)
    with home.database.begin() as connection:
        record_run(connection, made)
        connection.execute(sa.update(tables.run).values(finished_utc=home.now + 1))
        row = {"artifact_id": "ar_" + key, "run_key": made.run_key, "role": "text_report", "media_type": artifact().media_type}
        connection.execute(
            sa.insert(tables.artifact).values(**row, identifier="1.2.9", sop_class_uid="1.2", storage_key="x", sha256="y")
        )
        connection.execute(
            sa.insert(tables.delivery).values(
                delivery_id="dl_" + key,
                artifact_id="ar_" + key,
                run_key=made.run_key,
                study_key=key,
                destination="pacs",
                state=str(state),
                planned_utc=home.now,
                done_utc=home.now + 1,
                proved_utc=home.now + 1 if proof else None,
                proof=str(proof),
            )
        )
    folder = home.path / "results" / made.run_key
    folder.mkdir(parents=True)
    (folder / "text_report.dcm").write_bytes(b"bytes")


def received(home: Home, study: str = "study", images: tuple[str, ...] = ("pa",)) -> str:
    """Let a study arrive and be routed."""
    for image in images:
        key = home.receive(radiograph(image, study))
    home.now += 100
    home.route(key)
    return key


def files(home: Home) -> list[Path]:
    return sorted((home.path / "store").rglob("*.dcm"))


def pass_by(home: Home, days: float = 31, settings: RetentionSettings = SETTINGS, **more: Any) -> Deleted:
    """Run retention that many days later."""
    return run_retention(home.database, home.path, settings, more.pop("proofs", PROOFS), now=home.now + days * DAY, **more)


def change(home: Home, **values: Any) -> None:
    with home.database.begin() as connection:
        connection.execute(sa.update(tables.study).values(**values))


def test_what_is_delivered_and_old_goes_and_its_story_stays(home: Home) -> None:
    key = received(home, images=("pa", "lateral"))
    delivered(home, key)
    assert pass_by(home, 29) == Deleted()
    assert len(files(home)) == 2
    done = pass_by(home)
    assert (done.studies, done.objects, done.results) == (1, 2, 0)
    assert files(home) == []
    story = home.story(key)
    assert story["pixels_deleted_utc"] is not None
    assert story["story"][-1]["text"] == "2 received object(s) deleted by retention; results and story stay."
    assert (home.path / "results" / f"rn_{key}").is_dir()
    assert pass_by(home) == Deleted(), "nothing is deleted twice"


@pytest.mark.parametrize(
    ("state", "proof", "owed", "release", "why"),
    [
        (DeliveryState.SENT, Proof.NONE, "commitment", "at_once", "not delivered with its proof yet"),
        (DeliveryState.DONE, Proof.ANSWER, "commitment", "at_once", "not delivered with its proof yet"),
        (DeliveryState.DONE, Proof.ANSWER, "query", "at_once", "not delivered with its proof yet"),
        (DeliveryState.DONE, Proof.QUERY, "commitment", "at_once", ""),
        (DeliveryState.WARNED, Proof.COMMITMENT, "query", "at_once", ""),
        (DeliveryState.QUEUED, Proof.NONE, "answer", "at_once", "not delivered with its proof yet"),
        (DeliveryState.WAITING, Proof.NONE, "answer", "at_once", "not delivered with its proof yet"),
        (DeliveryState.DEAD, Proof.NONE, "answer", "at_once", "not delivered with its proof yet"),
        (DeliveryState.CANCELLED, Proof.NONE, "answer", "at_once", ""),
        (DeliveryState.WITHHELD, Proof.NONE, "answer", "silent", ""),
        (DeliveryState.WITHHELD, Proof.NONE, "answer", "after_answer", "waits for an answer"),
    ],
)
def test_only_what_is_proven_as_its_destination_owes_goes(
    home: Home, state: str, proof: str, owed: str, release: str, why: str
) -> None:
    key = received(home)
    delivered(home, key, state=state, proof=proof, release=release)
    assert pass_by(home, proofs={"pacs": owed}).studies == (0 if why else 1)
    with home.database.begin() as connection:
        before = home.now + DAY
        kept = retention.kept_because(connection, {"pacs": owed}, before, retention.keeper(SETTINGS, home.now))
    assert kept == ({why: 1} if why else {})


@pytest.mark.parametrize(
    "values",
    [
        {"legal_hold": True},
        {"committed_utc": 5.0},
        {"state": "held", "hold_reason": "patient_conflict"},
        {"state": "held", "hold_reason": "changed_pixels"},
        {"state": "held", "hold_reason": "a_reason_of_tomorrow"},
        {"state": "receiving"},
        {"deadline_utc": 5.0},
    ],
)
def test_what_is_kept_for_a_reason_stays_whatever_its_age(home: Home, values: dict[str, Any]) -> None:
    key = received(home)
    delivered(home, key)
    change(home, **values)
    assert pass_by(home, 3650).studies == 0
    assert len(files(home)) == 1


def test_a_prior_that_nobody_waits_for_goes(home: Home) -> None:
    key = received(home)
    with home.database.begin() as connection:
        hold(connection, key, "study_too_old")
    assert pass_by(home).studies == 1


def test_an_open_run_and_a_reader_keep_a_study(home: Home) -> None:
    key = received(home)
    delivered(home, key)
    assert pass_by(home, kept=lambda connection, study: True).studies == 0
    with home.database.begin() as connection:
        connection.execute(sa.update(tables.run).values(state="running"))
    assert pass_by(home).studies == 0


def test_nothing_is_deleted_unless_it_says_so(home: Home) -> None:
    delivered(home, received(home))
    assert pass_by(home, 3650, RetentionSettings()) == Deleted()


def test_a_low_disk_shortens_the_time_and_nothing_else(home: Home) -> None:
    delivered(home, received(home, "a"))
    key = received(home, "b")
    delivered(home, key, state=DeliveryState.SENT, proof=Proof.NONE)
    settings = RetentionSettings(keep_days_after_delivery=30, keep_days_when_disk_is_low=3)
    assert pass_by(home, 5, settings).studies == 0
    assert pass_by(home, 5, settings, disk_is_low=True).studies == 1
    assert home.story(key)["pixels_deleted_utc"] is None


def test_a_crash_between_mark_and_delete_is_finished_by_the_next_pass(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    key = received(home)
    delivered(home, key)

    def crash(*_: object, **__: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(retention, "_finish", lambda *_: None)
        pass_by(home)
    assert len(files(home)) == 1, "marked, not removed"
    assert home.story(key)["pixels_deleted_utc"] is not None
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", crash)
        pass_by(home)
    assert len(files(home)) == 1, "told, and left to the next pass"
    pass_by(home)
    assert files(home) == []


def test_the_same_object_again_is_stored_anew_and_nothing_runs(home: Home) -> None:
    key = received(home)
    delivered(home, key)
    pass_by(home)
    home.now += 40 * DAY
    home.receive(radiograph())
    assert len(files(home)) == 1
    assert home.due() == []
    story = home.story(key)
    assert (story["pixels_deleted_utc"], story["state"]) == (None, "routed")
    assert "kept anew" in story["story"][-1]["text"]
    assert str(files(home)[0]).endswith(story["instances"][0]["storage_key"])
    assert pass_by(home, 10).studies == 0, "its time begins anew"
    assert pass_by(home, 31).studies == 1


def test_another_object_for_a_deleted_study_is_kept_and_not_analysed(home: Home) -> None:
    """Without the images beside it a result would be about something else."""
    key = received(home)
    delivered(home, key)
    pass_by(home)
    home.receive(radiograph("late"))
    assert len(files(home)) == 1
    assert home.due() == []
    assert home.states(key) == ["current", "held"]


def test_a_rejected_object_for_a_deleted_study_stays_rejected(home: Home) -> None:
    """A person who releases the study later must not have it analysed."""
    key = received(home)
    late = radiograph("late")
    home.receive(rejection_note(radiograph(), [late]))
    delivered(home, key)
    pass_by(home)
    home.receive(late)
    assert home.states(key) == ["current", "rejection_note", "rejected"]


def test_a_corrected_patient_is_noticed_although_the_pixels_are_gone(home: Home) -> None:
    """The identity is in the rows: the study gets a revision, so that its result is withdrawn, and is not analysed half."""
    key = received(home, images=("pa", "lateral"))
    delivered(home, key)
    pass_by(home)
    home.receive(radiograph("pa", PatientID="PID-2", PatientName="ROE^JANE"))
    home.receive(radiograph("lateral", PatientID="PID-2", PatientName="ROE^JANE"))
    home.now += 100
    home.settle(key)
    assert home.story(key)["revision"] == 2
    with home.database.begin() as connection:
        assert hold_where_deleted(connection, key) is False, "both came again"


def test_a_study_half_of_which_is_gone_is_held(home: Home) -> None:
    key = received(home, images=("pa", "lateral"))
    delivered(home, key)
    pass_by(home)
    home.receive(radiograph("pa", AccessionNumber="ACC-2"))
    home.now += 100
    home.settle(key)
    with home.database.begin() as connection:
        assert hold_where_deleted(connection, key) is True
    assert home.story(key)["hold_reason"] == "images_deleted"
    home.receive(radiograph("lateral"))
    assert home.due() == [key], "all that was deleted is here again: the correction is answered"
    home.route(key)


def test_results_go_after_their_own_time(home: Home) -> None:
    key = received(home)
    delivered(home, key)
    settings = RetentionSettings(keep_results_days=100)
    assert pass_by(home, 99, settings).results == 0
    assert pass_by(home, 101, settings).results == 1
    assert not (home.path / "results" / f"rn_{key}").exists()
    assert home.story(key)["story"][-1]["text"] == "cxr_tb: the files of result 1 were deleted by retention."


def test_a_result_whose_files_cannot_be_removed_is_told_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    key = received(home)
    delivered(home, key)
    settings = RetentionSettings(keep_results_days=100)
    with monkeypatch.context() as patched:
        patched.setattr(retention.shutil, "rmtree", lambda *_, **__: None)
        assert [pass_by(home, 101, settings).results for _ in range(3)] == [0, 0, 0]
    assert home.events(key).count("result.deleted") == 1
    assert pass_by(home, 101, settings).results == 1


def test_one_file_that_cannot_be_removed_does_not_keep_the_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of three: the pass goes on, and the file goes once it can."""
    delivered(home, received(home, images=("pa", "lateral", "oblique")))
    first = home.path / "store" / home.story(received_key(home))["instances"][0]["storage_key"]
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == first.name:
            raise PermissionError("not ours")
        real(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink)
        assert pass_by(home).studies == 1
        assert files(home) == [first]
        assert pass_by(home) == Deleted()
    pass_by(home)
    assert files(home) == []


def received_key(home: Home) -> str:
    with home.database.begin() as connection:
        return str(connection.execute(sa.select(tables.study.c.study_key)).scalar_one())


@pytest.mark.parametrize(
    ("values", "revision", "why"),
    [
        ({"state": "failed"}, 1, "waits for a person"),
        ({"state": "analysed", "request": {"study_revision": 1}}, 2, "its result is to be taken back"),
        ({"state": "withdrawn", "request": {"study_revision": 1}}, 2, ""),
        ({"state": "cancelled", "request": {"study_revision": 1}}, 2, ""),
    ],
)
def test_a_run_without_an_answer_and_a_result_that_does_not_hold_keep_a_study(
    home: Home, values: dict[str, Any], revision: int, why: str
) -> None:
    """Neither is seen by its deliveries: the one has none, the other's were made for a revision that is over."""
    delivered(home, received(home))
    change(home, revision=revision)
    with home.database.begin() as connection:
        connection.execute(sa.update(tables.run).values(**values))
    assert pass_by(home).studies == (0 if why else 1)
    with home.database.begin() as connection:
        kept = retention.kept_because(connection, PROOFS, home.now + DAY, retention.keeper(SETTINGS, home.now))
    assert kept == ({why: 1} if why else {})


def test_old_records_go_and_open_transactions_stay(home: Home) -> None:
    with home.database.begin() as connection:
        for number, state in enumerate(("open", "reported")):
            connection.execute(
                sa.insert(tables.commitment).values(
                    transaction_uid=f"2.25.{number}", direction="asked", peer="pacs", state=state, items={}, requested_utc=0.0
                )
            )
        connection.execute(sa.insert(tables.refused_object).values(at_utc=0.0, calling_ae="A", called_ae="B", status=1, text="no"))
    assert pass_by(home, 91).records == 2
    with home.database.begin() as connection:
        assert list(connection.execute(sa.select(tables.commitment.c.state)).scalars()) == ["open"]


def test_legal_hold_is_told_and_ended_by_a_person(home: Home) -> None:
    key = received(home)
    delivered(home, key)
    with home.database.begin() as connection:
        assert safekeeping.set_legal_hold(connection, key, held=True) == key
        with pytest.raises(UsageError, match="already under legal hold"):
            safekeeping.set_legal_hold(connection, key, held=True)
    assert pass_by(home).studies == 0
    with home.database.begin() as connection:
        safekeeping.set_legal_hold(connection, key, held=False)
    assert home.events(key)[-2:] == ["study.legal_hold", "study.legal_hold_ended"]
    assert pass_by(home).studies == 1


def test_a_promise_to_a_modality_keeps_the_study(home: Home) -> None:
    key = received(home)
    image = radiograph()
    pair = (image.SOPClassUID, image.SOPInstanceUID)
    with home.database.begin() as connection:
        verdicts = safekeeping.promise(connection, [pair, ("1.2", pair[1])], home.path)
        assert verdicts == {pair[1]: safekeeping.CONFLICT}, "the same UID under another class"
        assert safekeeping.promise(connection, [(pair[0], "1.2.3")], home.path) == {"1.2.3": safekeeping.NO_SUCH_INSTANCE}
        assert safekeeping.promise(connection, [pair], home.path) == {pair[1]: safekeeping.KEPT}
    delivered(home, key)
    assert pass_by(home, 3650).studies == 0
    assert home.events(key).count("study.committed") == 1


def test_what_was_deleted_is_not_promised(home: Home) -> None:
    delivered(home, received(home))
    pass_by(home)
    image = radiograph()
    with home.database.begin() as connection:
        verdicts = safekeeping.promise(connection, [(image.SOPClassUID, image.SOPInstanceUID)], home.path)
    assert verdicts == {image.SOPInstanceUID: safekeeping.NO_SUCH_INSTANCE}


@pytest.mark.parametrize(
    ("run_state", "closed", "kept"), [("analysed", False, True), ("withdrawn", False, False), ("analysed", True, False)]
)
def test_what_somebody_is_asked_about_stays(home: Home, run_state: str, closed: bool, kept: bool) -> None:
    key = received(home)
    delivered(home, key)
    with home.database.begin() as connection:
        run_key = connection.execute(sa.select(tables.run.c.run_key)).scalar_one()
        connection.execute(sa.update(tables.run).values(state=run_state))
        tasks.open_task(connection, "gray_zone", run_key, key, "Near the threshold.")
        if closed:
            tasks.close_tasks(connection, run_key, "not needed")
    assert pass_by(home).studies == (0 if kept else 1)


def test_what_was_answered_lately_stays_for_the_export(home: Home) -> None:
    key = received(home)
    delivered(home, key)
    with home.database.begin() as connection:
        columns = {"number": 1, "feedback_id": "a", "at_utc": home.now + 20 * DAY, "said_utc": 0.0, "source": "s", "run_key": "rn"}
        words = dict.fromkeys(("verdict", "strength", "channel", "context", "previous_hash", "row_hash"), "")
        connection.execute(sa.insert(tables.verdict).values(**columns, **words, study_key=key, ai_shown=True))
    assert pass_by(home, 40).studies == 0
    assert pass_by(home, 51).studies == 1
