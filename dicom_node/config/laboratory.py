"""Mistakes of waiting for laboratory values: for values that nothing can tell, or of servers that nobody would ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_node.config.document import Loc, Mistake
from dicom_node.config.sentences import did_you_mean
from dicom_node.plugins import known_kinds, load_kind

_CURE = "set orders.listener (HL7), orders.fhir (Observations) or web.users (a person, on the study's page), or delete it."


def labs_awaited(data: Mapping[str, Any], *, thorough: bool) -> Iterator[Mistake]:
    """Yield mistakes of the rules that wait, and of ``orders.fhir``.

    Parameters
    ----------
    thorough
        Also import the pipelines of rules that wait, to ask whether they take any laboratory value.
    """
    orders, web = _mapping(data.get("orders")), _mapping(data.get("web"))
    told = bool(orders.get("listener") or orders.get("fhir") or web.get("users") or web.get("oidc"))
    rules = _mapping(data.get("routing")).get("rules")
    waits = False
    for index, rule in enumerate(rules if isinstance(rules, (list, tuple)) else ()):
        if not _number(_mapping(rule).get("wait_for_labs_minutes")) > 0:
            continue
        waits = True
        loc: Loc = ("routing", "rules", index, "wait_for_labs_minutes")
        pipeline = rule.get("pipeline")
        if thorough and pipeline in known_kinds("pipeline") and not hasattr(load_kind("pipeline", str(pipeline)), "lab_inputs"):
            yield Mistake(loc, f"{pipeline} takes no laboratory value, so there is nothing to wait for; delete it.", at_key=True)
        elif not told:
            yield Mistake(loc, f"the run would wait for values that nothing can tell: {_CURE}", at_key=True)
    yield from _fhir(data, _mapping(orders.get("fhir")), waits=waits)


def _fhir(data: Mapping[str, Any], fhir: Mapping[str, Any], *, waits: bool) -> Iterator[Mistake]:
    """Servers that are asked are destinations of that kind; and something must ask them, or push."""
    if not fhir:
        return
    destinations = _mapping(data.get("destinations"))
    servers = [str(name) for name, one in destinations.items() if _mapping(one).get("kind") == "fhir_rest"]
    ask = fhir.get("ask", ())
    asked = [ask] if isinstance(ask, str) else list(ask) if isinstance(ask, (list, tuple)) else []
    for index, name in enumerate(asked):
        if isinstance(name, str) and name not in servers:
            known = f"Known: {', '.join(servers)}." if servers else "None is configured: add one under destinations."
            text = f'"{name}" is no destination of kind fhir_rest. {known}{did_you_mean(name, servers)}'
            yield Mistake(("orders", "fhir", "ask", index), text)
    hook = bool(_mapping(_mapping(data.get("feedback")).get("fhir")).get("hook_token_file"))
    if asked and not waits and not hook:
        text = "servers are asked while a run waits, and no rule waits: set wait_for_labs_minutes in a rule, or delete ask."
        yield Mistake(("orders", "fhir", "ask"), text, at_key=True)
    if not asked and not hook:
        text = "no Observation can come: name servers in ask, or set feedback.fhir.hook_token_file, to which they are pushed."
        yield Mistake(("orders", "fhir"), text, at_key=True)


def _number(value: Any) -> float:
    """Return a number as written; what is none is the model's to complain of."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
