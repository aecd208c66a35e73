"""Making a stored transaction fit for a server that may hold earlier versions of its resources. Pure.

A resource that we update carries a tag with a digest of what we wrote. When the server's version no longer has the content that
its tag tells (``core/fhir_names.py``), somebody else changed it: it is treated as feedback and never overwritten.
"""

from __future__ import annotations

import copy
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from dicom_node.core.codes import LIKELIHOODS_OF_DISEASE
from dicom_node.core.fhir_names import (
    CODE_SYSTEMS,
    DIGEST_SYSTEM,
    OBSERVATION_SYSTEM,
    RISK_SYSTEM,
    RUN_SYSTEM,
    Json,
    content_digest,
    digests,
    written_by_us,
)

__all__ = [
    "DIGEST_SYSTEM",
    "ChangedBySomebodyElse",
    "Json",
    "SeveralHaveOurIdentifier",
    "changed_beside",
    "content_digest",
    "dropped_results",
    "fitted",
    "not_written",
    "risks_on",
    "searches",
    "still_standing",
    "withdrawn",
    "written_by_us",
]


_NONE: Mapping[int, Json] = MappingProxyType({})
_TAKEN_BACK = ("entered-in-error", "cancelled")


class ChangedBySomebodyElse(Exception):
    """The server holds a version that we did not write last."""


class SeveralHaveOurIdentifier(Exception):
    """More than one resource of the server has an identifier that only one of ours may have."""


def searches(bundle: Json) -> dict[int, str]:
    """Return, by position of the entry, the search that says whether the server holds the resource already."""
    found = {}
    for position, entry in enumerate(bundle["entry"]):
        if entry["request"]["method"] == "PUT" and "?" in entry["request"]["url"]:
            found[position] = entry["request"]["url"]
    return found


def dropped_results(bundle: Json, held: Mapping[int, list[Json]]) -> list[str]:
    """Return the Observations, as ``Observation/id``, that the server's reports list and the new transaction does not hold."""
    kept = {f"{resource['resourceType']}/{resource['id']}" for resources in held.values() for resource in resources}
    listed = set()
    for resources in held.values():
        for resource in resources:
            for result in resource.get("result", ()):
                parts = result.get("reference", "").partition("/_history")[0].split("/")
                listed.add("/".join(parts[-2:]))
    return sorted(reference for reference in listed - kept if reference.startswith("Observation/"))


def risks_on(observation: Json) -> list[str]:
    """Return the searches for RiskAssessments that stand on an Observation of ours; none where it is no likelihood of disease."""
    said = {(one.get("system"), one.get("code")) for one in observation.get("code", {}).get("coding", ())}
    if said.isdisjoint((CODE_SYSTEMS[code.scheme], code.value) for code in LIKELIHOODS_OF_DISEASE):
        return []
    numbers = [one["value"] for one in observation.get("identifier", ()) if one.get("system") == OBSERVATION_SYSTEM]
    return [f"RiskAssessment?identifier={urllib.parse.quote(f'{RISK_SYSTEM}|{number}', safe=':/')}" for number in numbers]


def _withdrawal(dropped: Json) -> Json:
    """Return the entry that withdraws what an earlier run had found: its value would stand beside a result that has none."""
    made = copy.deepcopy(dropped)
    made["status"] = "entered-in-error"
    made.setdefault("note", []).append({"text": "Withdrawn: the newest result of this study does not hold it any more."})
    _tag(made)
    return {"resource": made, "request": _update_of(dropped)}


def _tag(resource: Json) -> str:
    digest = content_digest(resource)
    meta = resource.setdefault("meta", {})
    others = [tag for tag in meta.get("tag", ()) if tag.get("system") != DIGEST_SYSTEM]
    meta["tag"] = [*others, {"system": DIGEST_SYSTEM, "code": digest}]
    return digest


def _update_of(there: Json) -> Json:
    return {"method": "PUT", "url": f"{there['resourceType']}/{there['id']}", "ifMatch": f'W/"{there["meta"]["versionId"]}"'}


def fitted(bundle: Json, held: Mapping[int, list[Json]], dropped: Sequence[Json] = ()) -> Json | None:
    """Return the transaction to post: new resources as conditional creates, known ones as updates with ``ifMatch``.

    Parameters
    ----------
    held
        By position of the entry, what its search found on the server.
    dropped
        Observations that ``dropped_results`` named, and what ``risks_on`` found on them: withdrawn where we wrote them last, left
        alone where somebody else did (``still_standing`` names those).

    Returns
    -------
    dict or None
        ``None`` when the server already holds exactly this content: the answer to an earlier attempt was lost.

    Raises
    ------
    ChangedBySomebodyElse, SeveralHaveOurIdentifier
        Nothing may be written.
    """
    made = copy.deepcopy(bundle)
    same = bool(held)
    for position, resources in held.items():
        entry = made["entry"][position]
        resource, request = entry["resource"], entry["request"]
        digest = _tag(resource)
        if len(resources) > 1:
            raise SeveralHaveOurIdentifier(resource["resourceType"])
        if not resources:
            same = False
            kind, _, query = request["url"].partition("?")
            entry["request"] = {"method": "POST", "url": kind, "ifNoneExist": query}
            continue
        there = resources[0]
        if not written_by_us(there):
            raise ChangedBySomebodyElse(resource["resourceType"])
        same = same and content_digest(there) == digest
        resource["id"] = there["id"]
        entry["request"] = _update_of(there)
    made["entry"] += [_withdrawal(one) for one in dropped if written_by_us(one)]
    return None if same else made


def changed_beside(bundle: Json, held: Mapping[int, list[Json]]) -> dict[int, Json]:
    """Return, by position, the Observations and RiskAssessments of a result that somebody else wrote last.

    They keep nobody from taking the rest back. The report does: who changed that has made the whole their own.
    """
    found = {}
    for position, resources in held.items():
        beside = bundle["entry"][position]["resource"]["resourceType"] in ("Observation", "RiskAssessment")
        if beside and len(resources) == 1 and not written_by_us(resources[0]):
            found[position] = resources[0]
    return found


def still_standing(changed: Iterable[Json]) -> list[str]:
    """Return the kinds of resources that somebody else wrote last, and has not taken back."""
    return sorted({one["resourceType"] for one in changed if not written_by_us(one) and one.get("status") not in _TAKEN_BACK})


def withdrawn(
    bundle: Json, held: Mapping[int, list[Json]], dropped: Sequence[Json] = (), beside: Mapping[int, Json] = _NONE
) -> Json | None:
    """Return the transaction that takes back what the server holds of a result; it creates nothing.

    Resources that the server does not hold are left out, and so are the references to them; those of ``beside`` are left as they
    are. Parameters and errors are those of ``fitted``; ``None`` when nothing is left to write.
    """
    there = {position for position, resources in held.items() if resources and position not in beside}
    if not there:
        return None
    absent = {bundle["entry"][position]["fullUrl"] for position, resources in held.items() if not resources}
    names = {bundle["entry"][position]["fullUrl"]: f"{one['resourceType']}/{one['id']}" for position, one in beside.items()}
    kept = [(position, entry) for position, entry in enumerate(bundle["entry"]) if position in there or position not in held]
    made = copy.deepcopy({**bundle, "entry": [entry for _, entry in kept]})
    for entry in made["entry"]:
        for name in ("result", "hasMember", "basis"):
            if name in entry["resource"]:
                kept_references = [r for r in entry["resource"][name] if r["reference"] not in absent]
                entry["resource"][name] = [{**r, "reference": names.get(r["reference"], r["reference"])} for r in kept_references]
                if not entry["resource"][name]:
                    del entry["resource"][name]
    places = {old: new for new, (old, _) in enumerate(kept)}
    return fitted(made, {places[position]: held[position] for position in there}, dropped)


def answered(bundle: Json, held: Mapping[int, list[Json]]) -> Json | None:
    """Return the transaction that tells of an answer to a result that the server holds; it creates nothing.

    Raises
    ------
    ChangedBySomebodyElse
        Somebody did, or a later run of ours has updated the resources: the answer is not about what stands there.
    """
    for position, resources in held.items():
        mine = _runs(bundle["entry"][position]["resource"])
        for there in resources:
            if _runs(there) != mine:
                raise ChangedBySomebodyElse(there["resourceType"])
    return withdrawn(bundle, held)


def _runs(resource: Json) -> set[str]:
    return {one.get("value", "") for one in resource.get("identifier", ()) if one.get("system") == RUN_SYSTEM}


def not_written(sent: Json, answer: Json) -> list[str]:
    """Return what of a transaction the server did not do as asked, one status a line; empty when all was written.

    Some servers answer 200 for the whole and tell a failed entry inside. A create that found a resource (200 instead of 201) met
    somebody who was faster: it is tried again and then updates.
    """
    entries = answer.get("entry", [])
    if len(entries) != len(sent["entry"]):
        return ["the answer does not cover every entry"]
    problems = []
    for asked, told in zip(sent["entry"], entries, strict=True):
        status = str(told.get("response", {}).get("status", ""))[:3]
        kind = asked["resource"]["resourceType"]
        tagged = bool(digests(asked["resource"]))
        if not status.startswith("2"):
            problems.append(f"{kind}: status {status or 'missing'}")
        elif asked["request"]["method"] == "POST" and tagged and status != "201":
            problems.append(f"{kind}: another one was there first")
    return problems
