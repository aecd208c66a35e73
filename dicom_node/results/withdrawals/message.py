"""The HL7 message that takes a result back: the observations that were sent, each with OBX-11 "W".

W is "post original as wrong, e.g. transmitted for wrong patient" (HL7 v2.5.1, table 0085): the same filler number (OBR-3), OBX-3
and OBX-4, so that the receiver marks what it has. OBR-25 becomes X, "no results available"; table 0123 has no W. Nothing of an
order or of a radiologist's report is named, as in the message that is withdrawn.
"""

from __future__ import annotations

import base64
import hashlib

from dicom_node.core.artifact import HL7, Artifact
from dicom_node.core.withdrawal import MESSAGE
from dicom_node.results.hl7_text import escaped, text_values
from dicom_node.results.withdrawals.withdrawal import Withdrawal

_OBX_TYPE, _OBX_VALUE, _OBX_FLAG, _OBX_STATUS = 2, 5, 8, 11


def build(withdrawal: Withdrawal) -> Artifact:
    """Build the message from the one that was sent; its control id depends on the run alone."""
    sent = withdrawal.of(HL7)[0]
    control_id = "AI" + base64.b32encode(hashlib.sha256(f"{MESSAGE}|{withdrawal.run_key}".encode()).digest())[:18].decode()
    at = withdrawal.at.strftime("%Y%m%d%H%M%S%z")
    words = f"WITHDRAWN. {withdrawal.cause.sentence}"
    segments = []
    for segment in sent.data.decode().split("\r"):
        fields = segment.split("|")
        if fields[0] == "MSH":  # MSH-1 is the separator itself, so MSH-n stands at n - 1
            fields[6], fields[9] = at, control_id
        elif fields[0] == "OBR":
            fields = _set(fields, {22: at, 25: "X"})
        elif fields[0] == "OBX":
            changed = {_OBX_FLAG: "", _OBX_STATUS: "W"}
            if fields[_OBX_TYPE] == "TX":
                changed[_OBX_VALUE] = "~".join(text_values([words]))
            fields = _set(fields, changed)
        elif fields[0] == "NTE":
            continue
        segments.append("|".join(fields))
        if fields[0] == "OBX" and fields[_OBX_TYPE] != "TX":
            segments.append(f"NTE|1||{escaped(words)}")
    return Artifact(withdrawal.run_key, MESSAGE, HL7, control_id, "\r".join(segments).encode())


def _set(fields: list[str], values: dict[int, str]) -> list[str]:
    made = fields + [""] * (max(values) + 1 - len(fields))
    for position, value in values.items():
        made[position] = value
    return made
