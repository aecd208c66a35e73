"""``dicom-node check``: configuration, models, disk, database, device, ports and every peer; a line each."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from dicom_node.archive import client as archive_client
from dicom_node.commands.checks.answers import answer_lines
from dicom_node.commands.checks.bundles import check_bundles
from dicom_node.commands.checks.certificates import certificate_lines
from dicom_node.commands.checks.destinations import check_destinations
from dicom_node.commands.checks.line import Line, Mark
from dicom_node.commands.checks.logins import login_lines
from dicom_node.commands.checks.place import clock_lines, is_anothers, user_lines
from dicom_node.commands.checks.reach import with_reason
from dicom_node.commands.checks.rules import rule_lines
from dicom_node.config.load import load_settings
from dicom_node.config.model import NodeSettings
from dicom_node.core.errors import ConfigError, NodeError
from dicom_node.home import Home
from dicom_node.log import quiet_libraries
from dicom_node.node import BEAT_SECONDS, last_beats
from dicom_node.store.connect import default_url, open_database
from dicom_node.studies.disk import DiskWatch, Level, words


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
    checks: dict[str, Callable[[], Iterator[Line]]] = {
        "user": lambda: user_lines(home),
        "clock": lambda: clock_lines(settings),
        "rules": lambda: rule_lines(settings),
        "bundles": lambda: check_bundles(home, settings),
        "disk": lambda: check_disk(home, settings),
        "database": lambda: check_database(home, settings),
        "ports": lambda: check_ports(home, settings),
        "senders": lambda: check_senders(settings),
        "answers": lambda: answer_lines(settings),
        "pages": lambda: login_lines(settings),
        "certificates": lambda: certificate_lines(settings),
        "archives": lambda: check_archives(settings),
        "destinations": lambda: check_destinations(settings),
    }
    for subject, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # the command line: one broken part must not hide the others
            broken = "the check itself broke; this is a defect or a broken installation"
            yield Line(Mark.FAIL, subject, f"{error if isinstance(error, NodeError) else broken} ({type(error).__name__})")


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
    if not settings.database_url and is_anothers(home) and not (home.path / "node.sqlite").exists():
        yield Line(Mark.NOTE, "database", f"{kind}, not made yet: this user's file would not be the node's")
        return
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


def _is_known(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (socket.gaierror, UnicodeError):
        return False


def check_senders(settings: NodeSettings) -> Iterator[Line]:
    """Say who may send, where that is nobody or more than IT may think, and what is promised to whom."""
    reception = settings.reception
    if not reception.peers and reception.stow is None:
        yield Line(Mark.NOTE, "senders", "nobody may send: add the PACS under reception.peers")
    for peer in reception.peers:
        if peer.host is not None and not _is_known(peer.host):
            text = f'the name "{peer.host}" is not known to this machine, so this sender is always rejected; mend the name, or DNS'
            yield Line(Mark.FAIL, f"sender {peer.ae_title}", text)
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
            yield Line(Mark.FAIL, f"archive {name}", with_reason(problem, archive))
        if not problems:
            yield Line(Mark.OK, f"archive {name}", archive_client.describe(archive))
