"""What no single setting can know: names that must exist, outputs that a destination can carry, ports that must differ.

Reads the settings as written, before the models do, so that these mistakes are shown beside all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from dicom_node.config.document import Loc, Mistake
from dicom_node.config.fields import destination_model
from dicom_node.config.hosts import hosts_mistaken
from dicom_node.config.laboratory import labs_awaited
from dicom_node.config.ports import ports_taken_twice
from dicom_node.config.readers import readers_taken_twice
from dicom_node.config.sentences import did_you_mean, mistakes_of
from dicom_node.core.artifact import DICOM, FHIR, HL7
from dicom_node.delivery.plan import DEFAULT_ROLES
from dicom_node.plugins import known_kinds, load_kind, unknown_kind

_MEDIA = {DICOM: "DICOM objects", FHIR: "FHIR resources", HL7: "HL7 messages"}


def cross_checks(data: Mapping[str, Any], *, thorough: bool) -> Iterator[Mistake]:
    """Yield every mistake that two settings make together.

    Parameters
    ----------
    thorough
        Also import the outputs and pipelines that are named, to ask what they make and which settings they have. Roles that
        only receive leave this out and start faster.
    """
    destinations = _mapping(data.get("destinations"))
    for name, raw in destinations.items():
        yield from _outputs(("destinations", name, "outputs"), _mapping(raw).get("outputs"), raw, thorough=thorough)
        yield from _proof(("destinations", name), _mapping(raw), _mapping(data.get("archives")))
    routing = _mapping(data.get("routing"))
    yield from _names(routing)
    for index, rule in enumerate(_list(routing.get("rules"))):
        if isinstance(rule, Mapping):
            yield from _rule(("routing", "rules", index), rule, destinations, thorough=thorough)
    yield from labs_awaited(data, thorough=thorough)
    yield from _pipelines(_mapping(_mapping(data.get("inference")).get("pipelines")), thorough=thorough)
    yield from _archives(_mapping(data.get("archives")), _mapping(data.get("reception")), routing)
    yield from _senders(_mapping(data.get("reception")), _mapping(data.get("archives")))
    yield from _polled(_list(_mapping(data.get("feedback")).get("poll_archives")), _mapping(data.get("archives")))
    yield from _polled_servers(_mapping(_mapping(data.get("feedback")).get("fhir")), destinations)
    yield from _answer_titles(_mapping(_mapping(data.get("feedback")).get("answer_ae")), _mapping(data.get("reception")))
    yield from _logins(_list(data.get("readers")), _mapping(data.get("web")))
    yield from hosts_mistaken(data)
    yield from ports_taken_twice(data)
    yield from readers_taken_twice(data)


def _names(routing: Mapping[str, Any]) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for group in ("hold", "rules"):
        for index, rule in enumerate(_list(routing.get(group))):
            name = _mapping(rule).get("name")
            if not isinstance(name, str):
                continue
            if name in first:
                where = first[name]
                yield Mistake(
                    ("routing", group, index, "name"), f'"{name}" is already the name of {where}; give this rule another.'
                )
            first.setdefault(name, f"routing.{group}[{index}]")


def _rule(loc: Loc, rule: Mapping[str, Any], destinations: Mapping[str, Any], *, thorough: bool) -> Iterator[Mistake]:
    pipeline = rule.get("pipeline")
    if isinstance(pipeline, str) and pipeline not in known_kinds("pipeline"):
        yield Mistake((*loc, "pipeline"), unknown_kind("pipeline", pipeline))
    elif thorough and isinstance(pipeline, str) and isinstance(rule.get("bundles"), Mapping):
        needs = tuple(load_kind("pipeline", pipeline).NEEDS)
        for name in rule["bundles"]:
            if name not in needs:
                text = f'{pipeline} uses no bundle "{name}". Known: {", ".join(needs)}.{did_you_mean(str(name), needs)}'
                yield Mistake((*loc, "bundles", name), text, at_key=True)
    targets = _list(rule.get("destinations"))
    for index, name in enumerate(targets):
        if isinstance(name, str) and name not in destinations:
            known = f"Known: {', '.join(destinations)}." if destinations else "None is configured: add it under destinations."
            text = f'there is no destination "{name}". {known}{did_you_mean(name, destinations)}'
            yield Mistake((*loc, "destinations", index), text)
    release = rule.get("release", "silent")
    if release in ("after_answer", "at_once") and not targets:
        yield Mistake((*loc, "release"), f"release is {release}, but the rule names no destinations; add them, or write silent.")
    yield from _outputs((*loc, "outputs"), rule.get("outputs"), None, thorough=thorough)
    taken = {role for name in targets for role in _taken_roles(destinations.get(str(name)))}
    taken |= {_kind(role) for role in taken}
    for index, output in enumerate(_list(rule.get("outputs"))):
        if isinstance(output, str) and targets and _kind(output) in known_kinds("output") and output not in taken:
            text = f'no destination of this rule takes "{output}"; add it to the outputs of one of them, or delete it here.'
            yield Mistake((*loc, "outputs", index), text)


def _outputs(loc: Loc, written: Any, destination: Any, *, thorough: bool) -> Iterator[Mistake]:
    kind = _mapping(destination).get("kind")
    carrier = load_kind("destination", kind) if isinstance(kind, str) and destination_model(destination) else None
    for index, output in enumerate(_list(written)):
        if not isinstance(output, str):
            continue
        if _kind(output) not in known_kinds("output"):
            yield Mistake((*loc, index), unknown_kind("output", _kind(output)))
        elif thorough:
            yield from _output((*loc, index), output, load_kind("output", _kind(output)), carrier, str(kind))


def _output(loc: Loc, written: str, output: ModuleType, carrier: ModuleType | None, kind: str) -> Iterator[Mistake]:
    _, colon, variant = written.partition(":")
    if colon and variant not in output.VARIANTS:
        known = f"Known: {', '.join(output.VARIANTS)}." if output.VARIANTS else "It has none: write it without the colon."
        yield Mistake(loc, f'{_kind(written)} has no flavour "{variant}". {known}{did_you_mean(variant, output.VARIANTS)}')
    if carrier is not None and output.MEDIA_TYPE not in carrier.MEDIA_TYPES:
        makes = _MEDIA.get(output.MEDIA_TYPE, output.MEDIA_TYPE)
        takes = ", ".join(_MEDIA.get(media, media) for media in carrier.MEDIA_TYPES)
        yield Mistake(loc, f"{_kind(written)} makes {makes}, but {kind} carries {takes}; send it to another destination.")


def _proof(loc: Loc, destination: Mapping[str, Any], archives: Mapping[str, Any]) -> Iterator[Mistake]:
    archive = destination.get("archive")
    if isinstance(archive, str) and archive not in archives:
        known = f"Known: {', '.join(archives)}." if archives else "None is configured: add it under archives."
        yield Mistake((*loc, "archive"), f'there is no archive "{archive}". {known}{did_you_mean(archive, archives)}')
    if destination.get("proof") == "query" and archive is None:
        yield Mistake((*loc, "proof"), "proof is query, but the destination names no archive that could be asked; add archive.")


def _taken_roles(destination: Any) -> list[str]:
    """Return what a destination takes: the outputs that are written, else the defaults of what its kind carries."""
    if destination_model(destination) is None:
        return []
    written = [output for output in _list(_mapping(destination).get("outputs")) if isinstance(output, str)]
    carried = load_kind("destination", _mapping(destination)["kind"]).MEDIA_TYPES
    return written or [role for media_type in carried for role in DEFAULT_ROLES.get(media_type, ())]


def _pipelines(settings: Mapping[str, Any], *, thorough: bool) -> Iterator[Mistake]:
    for name, raw in settings.items():
        loc: Loc = ("inference", "pipelines", name)
        if name not in known_kinds("pipeline"):
            yield Mistake(loc, unknown_kind("pipeline", name), at_key=True)
        elif thorough:
            model: type[BaseModel] = load_kind("pipeline", name).Settings
            try:
                model.model_validate(raw)
            except ValidationError as error:
                for plain in mistakes_of(error, model, raw):
                    yield Mistake((*loc, *plain.loc), plain.message, plain.at_key)


def _archives(archives: Mapping[str, Any], reception: Mapping[str, Any], routing: Mapping[str, Any]) -> Iterator[Mistake]:
    """An archive that sends by C-MOVE is a sender like any other: this node must admit it, and answer to the name it calls."""
    peers = {_mapping(peer).get("ae_title") for peer in _list(reception.get("peers"))}
    titles = _list(reception.get("ae_titles")) or ["AINODE"]
    for name, archive in archives.items():
        raw, loc = _mapping(archive), ("archives", name)
        if raw.get("kind") != "dimse" or raw.get("retrieve", "c_move") != "c_move":
            continue
        sender, called = raw.get("ae_title"), raw.get("move_destination", "AINODE")
        if isinstance(sender, str) and sender not in peers:
            text = f'"{sender}" would send by C-MOVE and be rejected: add it to reception.peers, or set retrieve: c_get.'
            yield Mistake((*loc, "ae_title"), text)
        if called not in titles:
            at: Loc = (*loc, "move_destination") if "move_destination" in raw else loc
            text = f'C-MOVE would go to "{called}", which this node does not answer to; write one of reception.ae_titles.'
            yield Mistake(at, f"{text} Known: {', '.join(map(str, titles))}.")
    for index, rule in enumerate(_list(routing.get("rules"))):
        wanted = _mapping(rule).get("incomplete")
        if wanted in ("hold", "alert") and not archives:
            text = f"incomplete is {wanted}, but no archive is configured that could tell; add one under archives, or delete it."
            yield Mistake(("routing", "rules", index, "incomplete"), text)


def _senders(reception: Mapping[str, Any], archives: Mapping[str, Any]) -> Iterator[Mistake]:
    """A certificate can only be asked of who comes by TLS, and an archive is only asked about who may send."""
    known = []
    for index, peer in enumerate(_list(reception.get("peers"))):
        known.append(str(_mapping(peer).get("ae_title")))
        if "certificate_name" in _mapping(peer) and not isinstance(reception.get("tls"), Mapping):
            text = "a certificate is shown by TLS only, and reception.tls is not set: this sender could never connect; set it."
            yield Mistake(("reception", "peers", index, "certificate_name"), text)
    if isinstance(reception.get("stow"), Mapping):
        known.append(str(reception["stow"].get("calling_ae", "STOW")))
    for name, archive in archives.items():
        for index, sender in enumerate(_list(_mapping(archive).get("calling_ae"))):
            if isinstance(sender, str) and sender not in known:
                text = f'"{sender}" is not among reception.peers, so this archive would never be asked for it.'
                yield Mistake(("archives", name, "calling_ae", index), text + did_you_mean(sender, known))


def _polled_servers(settings: Mapping[str, Any], destinations: Mapping[str, Any]) -> Iterator[Mistake]:
    """FHIR servers that are asked for answers are destinations of that kind: address, certificates and token stand there."""
    servers = [name for name, one in destinations.items() if _mapping(one).get("kind") == "fhir_rest"]
    for index, name in enumerate(_list(settings.get("poll"))):
        if isinstance(name, str) and name not in servers:
            known = f"Known: {', '.join(servers)}." if servers else "None is configured: add one under destinations."
            text = f'"{name}" is no destination of kind fhir_rest. {known}{did_you_mean(name, servers)}'
            yield Mistake(("feedback", "fhir", "poll", index), text)


def _polled(names: list[Any], archives: Mapping[str, Any]) -> Iterator[Mistake]:
    """Archives that are asked for answers are among those that may be asked."""
    for index, name in enumerate(names):
        if isinstance(name, str) and name not in archives:
            known = f"Known: {', '.join(archives)}." if archives else "None is configured: add it under archives."
            text = f'there is no archive "{name}". {known}{did_you_mean(name, archives)}'
            yield Mistake(("feedback", "poll_archives", index), text)


def _answer_titles(answer_ae: Mapping[str, Any], reception: Mapping[str, Any]) -> Iterator[Mistake]:
    """The AE title alone says whether an object is an image or an answer."""
    titles = {str(title).strip() for title in _list(reception.get("ae_titles")) or ["AINODE"]}
    for name, usual in (("accept", "AINODE_ACCEPT"), ("reject", "AINODE_REJECT"), ("amend", "AINODE_AMEND")):
        title = str(answer_ae.get(name, usual)).strip()
        if title in titles:
            text = f'"{title}" is also among reception.ae_titles, where images go; an answer needs an AE title of its own.'
            section = ("feedback", "answer_ae", name) if name in answer_ae else ("reception", "ae_titles")
            yield Mistake(section, text)


def _logins(readers: list[Any], web: Mapping[str, Any]) -> Iterator[Mistake]:
    """A reader whose login is misspelled would answer without it counting. Whom OpenID Connect lets in is not known here."""
    users = [str(_mapping(user).get("login")) for user in _list(web.get("users"))]
    if not users or web.get("oidc") is not None:
        return
    for index, reader in enumerate(readers):
        login = _mapping(reader).get("login")
        if isinstance(login, str) and login and login not in users:
            text = f'"{login}" is not among web.users, so this reader could never log in.{did_you_mean(login, users)}'
            yield Mistake(("readers", index, "login"), text)


def _kind(output: str) -> str:
    return output.partition(":")[0]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    """Return a list; a single text stands for a list of one, as the models have it."""
    return [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
