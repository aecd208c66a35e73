"""inference -> results: may a positive result draw attention to itself? Decided once for a run, and kept in its row."""

from __future__ import annotations

import time

from dicom_node.core.findings import Decision, Findings
from dicom_node.core.study import Study
from dicom_node.inference import repository as runs
from dicom_node.routing.attention import no_flag_because
from dicom_node.stages.rooms import Rooms
from dicom_node.store.story import tell

#: Outputs that are nothing but a flag.
FLAGS = frozenset(("key_objects",))
_HOUR = 3600.0


def may_raise_flag(rooms: Rooms, stored: runs.StoredRun, study: Study, findings: Findings) -> bool:
    """Say whether a result may flag: one without anything positive always may; why a positive one may not stands in the story."""
    if not findings.flagged and all(finding.decision is not Decision.POSITIVE for finding in findings.findings):
        return True
    request = stored.request
    rule = next((rule for rule in rooms.settings.routing.rules if rule.name == request.rule), None)
    read = [instance for instance in study.instances if instance.sop_instance_uid in findings.read]
    with rooms.database.begin() as connection:
        decided = runs.load_run(connection, request.run_key).no_flag
        if decided is not None:
            return not decided
        now = time.time()
        raised = runs.flags_since(connection, request.rule, now - _HOUR)
        why = no_flag_because(rule, read, raised, request.requested_at, rooms.settings.site.tzinfo())
        runs.decide_flag(connection, request.run_key, why, now)
        if why:
            text = f"{request.pipeline}: the result goes out without a flag. {why}"
            tell(connection, request.study_key, "results", "flag.withheld", text)
    return not why
