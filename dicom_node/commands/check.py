"""``dicom-node check``: configuration, models, disk, database, device, ports and every peer; a line each."""

from __future__ import annotations

import argparse
import enum
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

import models.bundle
from dicom_node.archive import client as archive_client
from dicom_node.commands.answer_lines import answer_lines
from dicom_node.commands.certificate_lines import certificate_lines
from dicom_node.commands.login_lines import login_lines
from dicom_node.config.load import load_settings
from dicom_node.config.model import NodeSettings
from dicom_node.core.delivery import Proof
from dicom_node.core.errors import ConfigError, NodeError
from dicom_node.core.run import Release
from dicom_node.delivery.answers import REPORTS
from dicom_node.delivery.destinations.dicom_store import Settings as DicomStoreSettings
from dicom_node.delivery.plan import RELEASABLE_EVIDENCE, Destination, roles_wanted
from dicom_node.delivery.proof import wanted_proof
from dicom_node.delivery.settings import ArchivingSettings, DestinationSettings
from dicom_node.home import Home
from dicom_node.inference.bundles import SHIPPED
from dicom_node.log import quiet_libraries
from dicom_node.node import BEAT_SECONDS, last_beats
from dicom_node.plugins import load_kind
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies.disk import DiskWatch, Level, words
from dicom_node.studies.rejection import KEY_OBJECT_SELECTION

#: Of the report about an answer (results/assessments/report.py).
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"


class Mark(enum.StrEnum):
    """What a line says at its start."""

    OK = "ok"
    NOTE = "note"  # works, but somebody should know
    FAIL = "FAIL"


@dataclass(frozen=True)
class Line:
    """One line of the answer."""

    mark: Mark
    subject: str
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--home", type=Path, required=True, help="folder with node.yaml")


def run(options: argparse.Namespace) -> int:
    """Print a line for each thing; 1 if any fails."""
    quiet_libraries()
    failed = False
    for line in check_home(Home(options.home.resolve())):
        failed |= line.mark is Mark.FAIL
        print(f"{line.mark.value:4}  {line.subject}: {line.text}", flush=True)
    return 1 if failed else 0


def check_home(home: Home) -> Iterator[Line]:
    """Yield the lines, each as soon as it is known. After a mistake in the file nothing else can be asked."""
    try:
        settings = load_settings(home.config)
    except ConfigError as error:
        for text in str(error).splitlines():
            yield Line(Mark.FAIL, "file", text)
        return
    yield Line(Mark.OK, "file", f"{home.config}, rules: {len(settings.routing.rules)}, destinations: {len(settings.destinations)}")
    if not settings.routing.rules:
        yield Line(Mark.NOTE, "file", "no rule: studies are received and kept, and none is analysed")
    checks: dict[str, Callable[[], Iterator[Line]]] = {
        "bundles": lambda: check_bundles(home, settings),
        "disk": lambda: check_disk(home, settings),
        "database": lambda: check_database(home, settings),
        "ports": lambda: check_ports(home, settings),
        "senders": lambda: check_senders(settings),
        "answers": lambda: (Line(Mark(told.mark), told.subject, told.text) for told in answer_lines(settings)),
        "pages": lambda: (Line(Mark(told.mark), told.subject, told.text) for told in login_lines(settings)),
        "certificates": lambda: (Line(Mark(told.mark), told.subject, told.text) for told in certificate_lines(settings)),
        "archives": lambda: check_archives(settings),
        "destinations": lambda: check_destinations(settings),
    }
    for subject, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # the command line: one broken part must not hide the others
            broken = "the check itself broke; this is a defect or a broken installation"
            yield Line(Mark.FAIL, subject, f"{error if isinstance(error, NodeError) else broken} ({type(error).__name__})")


def check_bundles(home: Home, settings: NodeSettings) -> Iterator[Line]:
    """Verify every bundle that a rule needs, its operating point, and the device that runs it."""
    asked: set[tuple[str, str | None]] = set()
    for rule in settings.routing.rules:
        needs: tuple[str, ...] = load_kind("pipeline", rule.pipeline).NEEDS
        for name in needs:
            version = rule.bundles.get(name)
            try:
                bundle = models.bundle.load_bundle(models.bundle.find_bundle(name, version, (home.bundles, *SHIPPED)))
                if name == needs[0]:
                    point = bundle.operating_point(rule.policy)
                    yield from _policy(rule.name, rule.policy, bundle, bool(point.get("feasible", True)))
                    yield from _evidence(rule.name, rule.release, rule.destinations, bundle, settings)
            except models.bundle.BundleError as error:
                yield Line(Mark.FAIL, f"rule {rule.name}", str(error))
                continue
            if (name, version) not in asked:
                asked.add((name, version))
                yield Line(Mark.OK, f"bundle {bundle.label}", f"verified; evidence: {bundle.evidence}{_origin(bundle)}")
                yield _device(bundle, settings)


def _policy(rule: str, policy: str, bundle: models.bundle.Bundle, feasible: bool) -> Iterator[Line]:
    if not feasible:
        text = f'the policy "{policy}" of {bundle.label} could not be reached in its validation; every result is for review'
        yield Line(Mark.NOTE, f"rule {rule}", text)


def _evidence(
    rule: str, release: Release, destinations: tuple[str, ...], bundle: models.bundle.Bundle, settings: NodeSettings
) -> Iterator[Line]:
    if release is Release.SILENT:
        yield Line(Mark.NOTE, f"rule {rule}", "release is silent: results stay on the node")
        return
    if release is Release.AFTER_ANSWER and not any(reader.role == "radiologist" for reader in settings.readers):
        text = "release is after_answer, and readers names no radiologist: nobody's answer releases a result"
        yield Line(Mark.NOTE, f"rule {rule}", text)
    closed = [name for name in destinations if not settings.destinations[name].allow_unvalidated]
    if bundle.evidence != RELEASABLE_EVIDENCE and closed:
        why = f'the evidence for {bundle.label} is "{bundle.evidence}" and allow_unvalidated is false there'
        yield Line(Mark.NOTE, f"rule {rule}", f"nothing goes to {', '.join(closed)}: {why}")


def _origin(bundle: models.bundle.Bundle) -> str:
    return (", trained on synthetic images" if bundle.synthetic else "") + (", reduced-width twin" if bundle.twin else "")


def _device(bundle: models.bundle.Bundle, settings: NodeSettings) -> Line:
    import models.session  # loads the inference library: only where a bundle is really there

    wanted = settings.inference.device
    try:
        session = models.session.Session(bundle.model, threads=settings.inference.threads, device=wanted)
    except Exception as error:  # the library has its own exception for every kind of failure, none of a common class
        text = f"the network cannot be loaded with device: {wanted} ({type(error).__name__}: {error})"
        return Line(Mark.FAIL, f"device for {bundle.label}", text)
    return Line(Mark.OK, f"device for {bundle.label}", {"cuda": "GPU", "cpu": "CPU"}.get(session.device, session.device))


def check_disk(home: Home, settings: NodeSettings) -> Iterator[Line]:
    """Say how much room the disks of the home have, whether this user may write there, and what lies there unclaimed."""
    if not os.access(home.path, os.W_OK | os.X_OK):
        yield Line(Mark.FAIL, "disk", f"{home.path} may not be written by this user; give it the rights")
        return
    folders = {str(folder): folder for folder in (home.path, home.store, home.results) if folder.is_dir()}
    for state in DiskWatch(folders, settings.disk, quiet=True).look():
        mark = {Level.OK: Mark.OK, Level.WARN: Mark.NOTE, Level.REFUSE: Mark.FAIL}[state.level]
        yield Line(mark, "disk", f"{words(state)} at {state.name}")
    if settings.retention.keep_days_after_delivery is None:
        yield Line(Mark.NOTE, "retention", "received images are never deleted (retention.keep_days_after_delivery is not set)")
    unclaimed = home.path / "unclaimed"
    count = sum(path.is_file() for path in unclaimed.rglob("*")) if unclaimed.is_dir() else 0
    if count:
        text = f"{count} objects without a record lie in {unclaimed}: send them again with a DICOM tool, or remove them by hand"
        yield Line(Mark.NOTE, "disk", text)


def check_database(home: Home, settings: NodeSettings) -> Iterator[Line]:
    """Open the database and make its tables where missing."""
    kind = "PostgreSQL" if settings.database_url.startswith("postgres") else "SQLite"
    try:
        open_database(settings.database_url or default_url(home.path)).dispose()
    except sa.exc.SQLAlchemyError as error:
        # the message of the driver can hold the password
        text = f"{kind} cannot be opened ({type(error).__name__}); check database_url, rights and that it runs"
        yield Line(Mark.FAIL, "database", text)
        return
    except ModuleNotFoundError:
        yield Line(Mark.FAIL, "database", 'the driver is not installed; install "dicom-node[postgres]"')
        return
    yield Line(Mark.OK, "database", f"{kind} opens")


def check_ports(home: Home, settings: NodeSettings) -> Iterator[Line]:
    """Say whether the node's own ports are free, or taken by the running node."""
    beats = last_beats(home)
    reception = settings.reception
    ports = [("reception", "receive", reception.host, reception.port)] if reception.plaintext else []
    if reception.tls is not None:
        ports.append(("reception by TLS", "receive", reception.host, reception.tls.port))
    if reception.stow is not None:
        ports.append(("STOW-RS", "receive", reception.stow.host, reception.stow.port))
    if settings.orders.listener is not None:
        ports.append(("HL7", "receive", settings.orders.listener.host, settings.orders.listener.port))
    ports.append(("web", "web", settings.web.host, settings.web.port))
    for subject, role, host, port in ports:
        label = f"port {port} ({subject})"
        problem = _bind(host, port)
        if not problem:
            yield Line(Mark.OK, label, "free")
        elif beats.get(role, float("inf")) <= 3 * BEAT_SECONDS:
            yield Line(Mark.OK, label, "in use by this node, which is running")
        else:
            yield Line(Mark.FAIL, label, problem)


def _bind(host: str, port: int) -> str:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        return "this user may not open it; choose a port above 1023, or give the right"
    except socket.gaierror:
        return f"{host} is no address of this machine"
    except OSError as error:
        return f"cannot be opened: {error.strerror}; another program has it, or {host} is no address of this machine"
    return ""


def check_senders(settings: NodeSettings) -> Iterator[Line]:
    """Say who may send, where that is nobody or more than IT may think, and what is promised to whom."""
    reception = settings.reception
    if not reception.peers and reception.stow is None:
        yield Line(Mark.NOTE, "senders", "nobody may send: add the PACS under reception.peers")
    for peer in reception.peers:
        if peer.host is None and peer.certificate_name is None:
            yield Line(Mark.NOTE, f"sender {peer.ae_title}", "any address may use this AE title; host or certificate_name ties it")
        if peer.commitment != "no":
            text = "may ask for storage commitment; a study that was promised is never deleted"
            yield Line(Mark.NOTE, f"sender {peer.ae_title}", text)
    for rule in settings.routing.rules:
        if "after_report" in rule.model_fields_set and settings.orders.listener is None:
            text = "after_report has no effect: without orders.listener no message tells of reports"
            yield Line(Mark.NOTE, f"rule {rule.name}", text)


def check_archives(settings: NodeSettings) -> Iterator[Line]:
    """Ask every archive about a study that nobody has."""
    for name, archive in settings.archives.items():
        problems = archive_client.check(archive)
        for problem in problems:
            yield Line(Mark.FAIL, f"archive {name}", problem)
        if not problems:
            yield Line(Mark.OK, f"archive {name}", archive_client.describe(archive))


_NO_NOTES = "It takes no Key Object Selections: a result that is withdrawn must be hidden there by hand, and is reported as parked"
_NO_HIDING = "It takes no Key Object Selections, so hide_rejected: true can do nothing: allow them there, or write false"
_NO_ASSESSMENTS = (
    "It takes no Basic Text SR: what a radiologist answers to a result cannot be shown there; allow it, or write assessments: false"
)


def _gets_assessments(destination: DestinationSettings, roles: Iterable[str]) -> bool:
    """Say whether reports about answers go there: beside DICOM reports only."""
    return destination.assessments and any(role.partition(":")[0] in REPORTS for role in roles)


def check_destinations(settings: NodeSettings) -> Iterator[Line]:
    """Ask every destination whether it would take what rules would send."""
    for name, destination in settings.destinations.items():
        module = load_kind("destination", destination.kind)
        rules = [rule for rule in settings.routing.rules if name in rule.destinations]
        if not rules:
            yield Line(Mark.NOTE, f"destination {name}", "no rule sends anything here")
        place = Destination(destination, tuple(module.MEDIA_TYPES))
        roles = sorted({role for rule in rules for role in roles_wanted(rule.outputs, [place])})
        sop_classes = dict.fromkeys(uid for role in roles for uid in load_kind("output", role.partition(":")[0]).SOP_CLASS_UIDS)
        try:
            problems = module.check(destination, tuple(sop_classes))
        except NodeError as error:
            problems = [str(error)]
        for problem in problems:
            yield Line(Mark.FAIL, f"destination {name}", problem)
        yield from _reports(name, destination, {peer.ae_title for peer in settings.reception.peers})
        if not problems and sop_classes and module.check(destination, (KEY_OBJECT_SELECTION,)):
            wanted = isinstance(destination, ArchivingSettings) and destination.hide_rejected
            yield (
                Line(Mark.FAIL, f"destination {name}", _NO_HIDING) if wanted else Line(Mark.NOTE, f"destination {name}", _NO_NOTES)
            )
        if not problems and _gets_assessments(destination, roles) and module.check(destination, (BASIC_TEXT_SR,)):
            yield Line(Mark.NOTE, f"destination {name}", _NO_ASSESSMENTS)
        if not problems and hasattr(module, "notes"):
            for note in module.notes(destination):
                yield Line(Mark.NOTE, f"destination {name}", note)
        if not problems:
            what = f" It takes {', '.join(roles)}." if roles else ""
            yield Line(Mark.OK, f"destination {name}", module.describe(destination) + what + _proof(destination))


def _proof(destination: DestinationSettings) -> str:
    proof = wanted_proof(destination)
    return {
        Proof.COMMITMENT: " Delivered means: the PACS has committed to keep it.",
        Proof.QUERY: " Delivered means: found in the archive afterwards.",
    }.get(proof, "")


def _reports(name: str, destination: DestinationSettings, senders: set[str]) -> Iterator[Line]:
    if isinstance(destination, DicomStoreSettings) and destination.proof == "commitment":
        archive = destination.commitment_ae_title or destination.ae_title
        if archive not in senders:
            text = f"reports of storage commitment on an association of {archive} would be rejected: add it to reception.peers"
            yield Line(Mark.NOTE, f"destination {name}", text)
