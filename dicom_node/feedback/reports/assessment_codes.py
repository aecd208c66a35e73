"""Codes by which a report says what a person thinks of our result. Pure.

Ours are in ``core.codes``, where the assessments that we write take them from. The second table was observed in a public
implementation of an assessment creator; the codes of the IHE supplement on assessment of AI results could not be obtained, so no
conformance with it is claimed: a site that has them puts them into ``feedback.assessment_codes``.
"""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.core import codes
from dicom_node.core.feedback import Verdict
from dicom_node.feedback.settings import AssessmentCode

#: (code value, coding scheme designator) -> what it says.
OURS = {
    codes.ASSESSMENT_ACCEPT[:2]: Verdict.ACCEPTED,
    codes.ASSESSMENT_MODIFY[:2]: Verdict.AMENDED,
    codes.ASSESSMENT_REJECT[:2]: Verdict.REJECTED,
}
OBSERVED = {
    ("AIRA-ACCEPT", "99PACS"): Verdict.ACCEPTED,
    ("AIRA-MODIFY", "99PACS"): Verdict.AMENDED,
    ("AIRA-REJECT", "99PACS"): Verdict.REJECTED,
}
#: How a person has a finding: values of ours and of the standard -> ``Statement.label_after``.
LABELS = {
    **dict.fromkeys((codes.DECISION_POSITIVE[:2], codes.ABNORMAL[:2], codes.PRESENT[:2]), "present"),
    **dict.fromkeys((codes.DECISION_NEGATIVE[:2], codes.NORMAL[:2], codes.ABSENT[:2]), "absent"),
    **dict.fromkeys((codes.DECISION_REFER[:2], codes.UNDETERMINED[:2], codes.INDETERMINATE[:2]), "unsure"),
}


def table(extra: Iterable[AssessmentCode]) -> dict[tuple[str, str], Verdict]:
    """Return the codes that count, the site's over ours."""
    return {**OBSERVED, **OURS, **{(one.value, one.scheme): Verdict(one.means) for one in extra}}
