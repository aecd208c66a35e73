"""One result is meant, or the answer does not count."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from dicom_node.core.feedback import Targets
from dicom_node.core.identifiers import derived_uid, short_key
from dicom_node.core.phi import Phi
from dicom_node.feedback.matching import Match, current_result, match, tracking_uid
from dicom_node.imaging.overlay_bands import LEVELS
from dicom_node.store import tables
from tests.factories.answer_log import AnswerLog, sop

A1, A2, B1 = "rn_a_cxr_tb_1", "rn_a_cxr_tb_2", "rn_b_cxr_tb_1"


@pytest.fixture(scope="module")
def shared_two(tmp_path_factory: pytest.TempPathFactory) -> AnswerLog:
    """The same for tests that only read."""
    return _two(AnswerLog(tmp_path_factory.mktemp("log")))


@pytest.fixture
def two(answers: AnswerLog) -> AnswerLog:
    """Study a with a replaced and a current result, study b with one, study c with two pipelines, d's is withdrawn."""
    return _two(answers)


def _two(answers: AnswerLog) -> AnswerLog:
    answers.result("a")
    answers.result("a", revision=2)
    answers.result("b", accession="ACC-B")
    answers.result("c", accession="ACC-C")
    answers.result("c", pipeline="cxr_hegl")
    answers.result("d", state="withdrawn")
    answers.result("e", state="failed")
    return answers


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (Targets(run_key=A2), Match(A2, "st_a")),
        (Targets(sop_instance_uids=(sop(A2),)), Match(A2, "st_a")),
        (Targets(sop_instance_uids=(sop(A2),), run_key=A2, study_key="st_a"), Match(A2, "st_a")),
        (Targets(tracking_uids=(tracking_uid(A2, "abnormal"),)), Match(A2, "st_a")),
        (Targets(tracking_uids=(tracking_uid(A2, "lungs"), "2.25.1")), Match(A2, "st_a")),
        (Targets(tracking_uids=(tracking_uid(A2, f"saliency|abnormal|{LEVELS[1]}"),)), Match(A2, "st_a")),
        (Targets(identifiers=(f"AI{A2}",)), Match(A2, "st_a")),
        (Targets(identifiers=("number of st_a cxr_tb",)), Match(A2, "st_a")),  # later results keep the number: the current one
        (Targets(identifiers=("number of st_a cxr_tb", A2, "the server's own")), Match(A2, "st_a")),
        (Targets(accession_number=Phi("ACC-B")), Match(B1, "st_b")),
        (Targets(accession_number=Phi(" acc-b ")), Match(B1, "st_b")),
        (Targets(run_key=B1, accession_number=Phi("ACC-C")), Match(B1, "st_b")),  # something better is said
        # replaced, withdrawn
        (Targets(run_key=A1), Match(A1, "st_a", "superseded")),
        (Targets(sop_instance_uids=(sop(A1),)), Match(A1, "st_a", "superseded")),
        (Targets(identifiers=("number of st_a cxr_tb", A1)), Match(A1, "st_a", "superseded")),
        (Targets(sop_instance_uids=(sop("rn_d_cxr_tb_1"),)), Match("rn_d_cxr_tb_1", "st_d", "withdrawn")),
        # things that do not belong together
        (Targets(sop_instance_uids=(sop(A1), sop(A2))), Match(problem="several")),
        (Targets(sop_instance_uids=(sop(A2), sop(B1))), Match(problem="several")),
        (Targets(run_key=A2, sop_instance_uids=(sop(B1),)), Match(problem="several")),
        (Targets(sop_instance_uids=(sop(A2),), study_key="st_b"), Match(problem="several")),
        (Targets(tracking_uids=(tracking_uid(A2, "abnormal"), tracking_uid(B1, "abnormal"))), Match(problem="several")),
        (Targets(accession_number=Phi("ACC-C")), Match(study_key="st_c", problem="several")),
        # nothing of ours
        (Targets(), Match(problem="unknown")),
        (Targets(run_key="rn_x"), Match(problem="unknown")),
        (Targets(sop_instance_uids=("1.2.3",)), Match(problem="unknown")),
        (Targets(sop_instance_uids=(sop(A2), "1.2.3")), Match(problem="unknown")),
        (Targets(tracking_uids=("1.2.3",)), Match(problem="unknown")),
        (Targets(tracking_uids=(tracking_uid(A2, "no such finding"),)), Match(problem="unknown")),
        (Targets(identifiers=("1.2.3",)), Match(problem="unknown")),
        (Targets(accession_number=Phi("ACC")), Match(problem="unknown")),
        (Targets(accession_number=Phi("ACC-%")), Match(problem="unknown")),
        (Targets(accession_number=Phi("  ")), Match(problem="unknown")),
    ],
)
def test_one_current_result_or_a_problem(shared_two: AnswerLog, targets: Targets, expected: Match) -> None:
    with shared_two.database.connect() as connection:
        assert match(connection, targets) == expected


def test_a_result_of_an_earlier_revision_of_its_study_is_as_good_as_withdrawn(two: AnswerLog) -> None:
    with two.database.begin() as connection:
        connection.execute(sa.update(tables.study).where(tables.study.c.study_key == "st_b").values(revision=2))
        assert match(connection, Targets(run_key=B1)).problem == "withdrawn"
        assert current_result(connection, B1) is None


def test_a_run_that_failed_or_works_replaces_nothing(two: AnswerLog) -> None:
    two.result("b", revision=2, state="failed")
    two.result("b", revision=3, state="running")
    with two.database.connect() as connection:
        assert match(connection, Targets(run_key=B1)) == Match(B1, "st_b")
        assert match(connection, Targets(run_key="rn_b_cxr_tb_3")).problem == "superseded"


def test_what_tells_of_answers_cannot_be_answered(two: AnswerLog) -> None:
    uid = derived_uid("ours")
    with two.database.begin() as connection:
        values = {"run_key": B1, "role": "assessment:3", "media_type": "application/dicom", "identifier": uid}
        key = short_key("ar", B1, "assessment:3")
        connection.execute(sa.insert(tables.artifact).values(artifact_id=key, storage_key="", sha256="", **values))
        assert match(connection, Targets(sop_instance_uids=(uid,))).problem == "unknown"


def test_numbers_of_further_orders_are_known(two: AnswerLog) -> None:
    with two.database.begin() as connection:
        connection.execute(sa.insert(tables.result_number).values(number="AISECOND", run_key=B1))
        assert match(connection, Targets(identifiers=("AISECOND",))) == Match(B1, "st_b")
