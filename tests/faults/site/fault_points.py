"""The named steps at which a fault can be injected. Standard library only: every process of the node imports this first.

A step is a function of ours (``call``), or what it does to a file below the node's home (``open``, ``write``, ``sync``, ``rename``,
``make``, ``remove``), which holds however the function is called that does it. ``test_points.py`` says when one of them is gone.
"""

from __future__ import annotations

from typing import NamedTuple


class Point(NamedTuple):
    """A step: ``module:function`` for ``call``, else a pattern of absolute paths. ``within``: only while that step is under way."""

    kind: str
    where: str
    within: str = ""


_STORE, _RESULTS = "*/store/*", "*/results/*"
_EXECUTE = "sqlalchemy.engine.default:DefaultDialect.do_execute"
_COMMIT = "sqlalchemy.engine.default:DefaultDialect.do_commit"

POINTS: dict[str, Point] = {
    # reception: the file
    "folder made": Point("make", _STORE),
    "file opened": Point("open", f"{_STORE}.part"),
    "file written": Point("write", f"{_STORE}.part"),
    "file synced": Point("sync", f"{_STORE}.dcm"),
    "file renamed": Point("rename", f"{_STORE}.dcm"),
    "folder synced": Point("sync", "*/store/??/st_??????????"),
    # reception: the row and the answer
    "row shared": Point("call", "dicom_node.reception.group_commit:GroupCommit.write"),
    "answer sent": Point("call", "dicom_node.reception.byte_stream:ByteStream.send"),
    "message kept": Point("call", "dicom_node.orders.repository:keep_message"),
    "row written": Point("call", "dicom_node.studies.recording:record_arrival"),
    "row inserted": Point("call", _EXECUTE, "row shared"),
    "row committed": Point("call", _COMMIT, "row shared"),
    # the database, in any process; a fault says in which
    "statement executed": Point("call", _EXECUTE),
    "transaction committed": Point("call", _COMMIT),
    # studies, routing
    "due found": Point("call", "dicom_node.studies.step:due_studies"),
    "study settled": Point("call", "dicom_node.studies.step:settle_arrivals"),
    "study routed": Point("call", "dicom_node.routing.step:choose_routes"),
    "run inserted": Point("call", "dicom_node.inference.repository:insert_run"),
    "study started": Point("call", "dicom_node.stages.start:start_study"),
    # inference
    "analysis begun": Point("call", "dicom_node.inference.repository:begin_run"),
    "pipeline run": Point("call", "dicom_node.inference.child:run_pipeline"),
    "findings saved": Point("call", "dicom_node.inference.findings_store:save_findings"),
    # results
    "outputs built": Point("call", "dicom_node.results.step:build_results"),
    "artifacts written": Point("call", "dicom_node.results.repository:write_artifacts"),
    "artifacts recorded": Point("call", "dicom_node.results.repository:record_artifacts"),
    "result opened": Point("open", _RESULTS),
    "result written": Point("write", _RESULTS),
    "result synced": Point("sync", _RESULTS),
    "result renamed": Point("rename", _RESULTS),
    # delivery
    "deliveries planned": Point("call", "dicom_node.delivery.step:plan_deliveries"),
    "run finished": Point("call", "dicom_node.inference.repository:finish_run"),
    "attempt made": Point("call", "dicom_node.delivery.attempt:attempt_delivery"),
    "attempt settled": Point("call", "dicom_node.delivery.settle:settle_delivery"),
    "commitment asked": Point("call", "dicom_node.delivery.commitment_scu:ask"),
    "commitment recorded": Point("call", "dicom_node.delivery.commitment_repository:insert"),
    "commitment reported": Point("call", "dicom_node.delivery.commitment_repository:update"),
    # taken back, deleted
    "result withdrawn": Point("call", "dicom_node.inference.repository:withdraw_run"),
    "withdrawal built": Point("call", "dicom_node.results.withdrawals.take_back:build_withdrawal"),
    "withdrawal planned": Point("call", "dicom_node.delivery.withdraw:plan_withdrawal"),
    "objects marked": Point("call", "dicom_node.studies.retention:_mark"),
    "object removed": Point("remove", f"{_STORE}.dcm"),
    # what every role writes by itself
    "heartbeat written": Point("write", "*/state/*"),
}
