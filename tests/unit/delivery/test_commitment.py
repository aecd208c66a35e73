"""Data sets of storage commitment, and what a failure means."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicom_node.delivery import commitment
from dicom_node.delivery.commitment import Remedy, Report

SC = "1.2.840.10008.5.1.4.1.1.7"


def test_a_request_names_each_object_once_and_is_read_back() -> None:
    data = commitment.request_dataset("2.25.1", [(SC, "1.2.3"), (SC, "1.2.4"), (SC, "1.2.3")])
    assert data.TransactionUID == "2.25.1"
    assert commitment.read_request(data).objects == ((SC, "1.2.3"), (SC, "1.2.4"))


def test_a_report_tells_event_type_two_as_soon_as_one_object_failed() -> None:
    classes = {"1.2.3": SC, "1.2.4": SC}
    event, data = commitment.report_dataset(Report("2.25.1", {"1.2.3": SC}, {"1.2.4": 0x0112}), classes)
    assert event == 2
    assert commitment.read_report(data) == Report("2.25.1", {"1.2.3": SC}, {"1.2.4": 0x0112})
    event, data = commitment.report_dataset(Report("2.25.1", classes, {}), classes)
    assert (event, "FailedSOPSequence" in data) == (1, False)
    event, data = commitment.report_dataset(Report("2.25.1", {}, {"1.2.3": 0x0110}), classes)
    assert (event, "ReferencedSOPSequence" in data) == (2, False)


def test_what_is_said_to_be_kept_and_failed_at_once_has_failed() -> None:
    _, data = commitment.report_dataset(Report("2.25.1", {"1.2.3": SC}, {"1.2.3": 0x0112}), {"1.2.3": SC})
    assert commitment.read_report(data).committed == {}


def test_a_failed_object_without_a_reason_failed_in_processing() -> None:
    _, data = commitment.report_dataset(Report("2.25.1", {}, {"1.2.3": 0x0112}), {"1.2.3": SC})
    del data.FailedSOPSequence[0].FailureReason
    assert commitment.read_report(data).failed == {"1.2.3": commitment.PROCESSING_FAILURE}


@pytest.mark.parametrize("spoil", ["TransactionUID", "ReferencedSOPSequence"])
def test_a_request_that_lacks_something_is_refused(spoil: str) -> None:
    data = commitment.request_dataset("2.25.1", [(SC, "1.2.3")])
    delattr(data, spoil)
    with pytest.raises(ValueError, match=r"missing|names no object"):
        commitment.read_request(data)


def test_a_uid_that_is_none_is_refused() -> None:
    data = commitment.request_dataset("2.25.1", [(SC, "1.2.3")])
    data.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "../../etc"
    with pytest.raises(ValueError, match="not a UID"):
        commitment.read_request(data)
    with pytest.raises(ValueError, match="not a UID"):
        commitment.read_report(Dataset())


def test_transaction_uids_are_new_and_fit_into_64_characters() -> None:
    drawn = {commitment.new_transaction_uid() for _ in range(50)}
    assert len(drawn) == 50
    assert all(len(uid) <= 64 for uid in drawn)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (0x0110, Remedy.ASK_AGAIN),
        (0x0112, Remedy.SEND_AGAIN),
        (0x0119, Remedy.PERSON),
        (0x0122, Remedy.OTHER_PROOF),
        (0x0131, Remedy.ASK_AGAIN),
        (0x0213, Remedy.ASK_AGAIN),
        (0x4711, Remedy.ASK_AGAIN),
    ],
)
def test_each_failure_reason_has_a_remedy_and_a_sentence(reason: int, remedy: Remedy) -> None:
    meaning = commitment.failure_meaning(reason)
    assert meaning.remedy is remedy
    assert f"0x{reason:04X}" in meaning.text
    assert meaning.text.endswith(".")
