"""Python imports this by itself where it is on the path: it wraps the named steps, and does nothing without DICOM_NODE_FAULTS.

``DICOM_NODE_FAULTS`` is a folder. ``armed.json`` in it lists the faults, and is read again when it changes, so that a node need not
start anew for each. A fault fires at its ``nth`` visit, ``times`` times, counted over all processes by the sizes of two files.
"""

from __future__ import annotations

import builtins
import errno
import fnmatch
import functools
import importlib.machinery
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("DICOM_NODE_FAULTS", "")
_open, _write, _close, _stat, _readlink = os.open, os.write, os.close, os.stat, os.readlink
_lock = threading.RLock()
_here = threading.local()
_read: tuple[int, list[dict[str, Any]]] = (0, [])


def role() -> str:
    """Return what this process is, from its command line: a role, the supervisor, or a child in which pipelines run."""
    words = sys.orig_argv
    if "--multiprocessing-fork" in words:
        return "pipeline"
    return words[words.index("--only") + 1] if "--only" in words else "supervisor"


ROLE = role() if FOLDER else ""


def armed() -> list[dict[str, Any]]:
    """Return the faults that are armed now."""
    global _read
    try:
        changed = _stat(f"{FOLDER}/armed.json").st_mtime_ns
    except OSError:
        return []
    if changed != _read[0]:
        descriptor = _open(f"{FOLDER}/armed.json", os.O_RDONLY)
        try:
            _read = (changed, json.loads(os.read(descriptor, 1 << 20)))
        finally:
            _close(descriptor)
    return _read[1]


def counted(name: str) -> int:
    """Add one to a count that all processes share, and return it."""
    descriptor = _open(f"{FOLDER}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        _write(descriptor, b".")
        return os.fstat(descriptor).st_size
    finally:
        _close(descriptor)


def visit(name: str, when: str) -> None:
    """A step is about to happen, or has happened: do what the armed faults say."""
    if getattr(_here, "busy", False):
        return
    _here.busy = True
    try:
        due = []
        for fault in armed():
            if (fault["point"], fault["when"]) != (name, when) or fault["role"] not in ("", ROLE):
                continue
            with _lock:
                visits = counted(f"{fault['id']}.visits")
                if fault["nth"] <= visits < fault["nth"] + fault["times"]:
                    counted(f"{fault['id']}.fired")
                    due.append(fault)
    finally:
        _here.busy = False
    for fault in due:
        act(fault["do"], name)


def act(what: str, name: str) -> None:
    """Let it happen at the step ``name``."""
    if what == "kill":  # a power cut: the supervisor and all roles
        os.killpg(os.getpgrp(), signal.SIGKILL)
        time.sleep(60)
    if what == "die":  # this process alone
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if what == "disk full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if what == "input/output error":
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    if what == "database full":
        raise database_error(name)
    if what == "defect":
        raise RuntimeError("injected")
    if what.startswith("sleep "):
        time.sleep(float(what.removeprefix("sleep ")))


def database_error(name: str) -> Exception:
    """Return what the driver in use raises when its disk is full; at a step of ours, wrapped as SQLAlchemy wraps it."""
    if "psycopg" in sys.modules:
        import psycopg

        error: Exception = psycopg.errors.DiskFull("could not extend file: No space left on device")
    else:
        import sqlite3

        error = sqlite3.OperationalError("database or disk is full")
    if name in ("statement executed", "transaction committed", "row inserted", "row committed"):
        return error
    import sqlalchemy as sa

    return sa.exc.OperationalError("injected", None, error)


# ---------------------------------------------------------------- functions of ours


def wrap_function(owner: Any, attribute: str, name: str, within: str) -> None:
    """Put the step around a function; with ``within``, only as far as it is called in that step, by the same thread."""
    plain = getattr(owner, attribute)

    @functools.wraps(plain)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        under_way = _here.__dict__.setdefault("steps", [])
        if within and within not in under_way:
            return plain(*args, **kwargs)
        visit(name, "before")
        under_way.append(name)
        try:
            result = plain(*args, **kwargs)
        finally:
            under_way.remove(name)
        visit(name, "after")
        return result

    setattr(owner, attribute, wrapped)


class Wrapping:
    """Finds modules as Python does; those with named steps are wrapped right after they ran."""

    def __init__(self, steps: dict[str, list[tuple[str, str, str]]]) -> None:
        self._steps = steps

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname not in self._steps:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        plain = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            plain(module)
            for name, trail, within in self._steps[fullname]:
                *owners, attribute = trail.split(".")
                wrap_function(functools.reduce(getattr, owners, module), attribute, name, within)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


# ---------------------------------------------------------------- files below the home


def watch_files(points: dict[str, tuple[str, str]]) -> None:
    """Put the steps around what is done to files."""

    def names(kind: str, path: str) -> list[str]:
        return [name for name, (k, where) in points.items() if k == kind and fnmatch.fnmatchcase(path, where)]

    def path_of(what: Any) -> str:
        if isinstance(what, int):
            try:
                return _readlink(f"/proc/self/fd/{what}")
            except OSError:
                return ""
        return os.path.abspath(os.fsdecode(what))

    def around(kind: str, plain: Any, which: Any) -> Any:
        @functools.wraps(plain)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            found = [] if getattr(_here, "busy", False) else names(kind, path_of(which(*args, **kwargs)))
            for name in found:
                visit(name, "before")
            result = plain(*args, **kwargs)
            for name in found:
                visit(name, "after")
            return result

        return wrapped

    def first(what: Any, *_args: Any, **_kwargs: Any) -> Any:
        return what

    def second(_source: Any, target: Any, *_args: Any, **_kwargs: Any) -> Any:
        return target

    for function in ("fsync", "fdatasync"):
        setattr(os, function, around("sync", getattr(os, function), first))
    for function in ("write", "writev", "pwrite", "pwritev"):
        setattr(os, function, around("write", getattr(os, function), first))
    for function in ("rename", "replace"):
        setattr(os, function, around("rename", getattr(os, function), second))
    os.mkdir = around("make", os.mkdir, first)
    os.unlink = os.remove = around("remove", os.unlink, first)

    class Watched:
        """A file that was opened by name: its writes are steps too."""

        def __init__(self, file: Any, written: list[str]) -> None:
            self.__dict__.update(_file=file, _written=written)

        def write(self, data: Any) -> Any:
            for name in self._written:
                visit(name, "before")
            result = self._file.write(data)
            for name in self._written:
                visit(name, "after")
            return result

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Watched:
            self._file.__enter__()
            return self

        def __exit__(self, *about: Any) -> Any:
            return self._file.__exit__(*about)

        def __iter__(self) -> Any:
            return iter(self._file)

    plain_open = io.open

    @functools.wraps(plain_open)
    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wxa+") or isinstance(file, int):
            return plain_open(file, mode, *args, **kwargs)
        path = path_of(file)
        made, written = names("open", path), names("write", path)
        for name in made:
            visit(name, "before")
        result = plain_open(file, mode, *args, **kwargs)
        for name in made:
            visit(name, "after")
        return Watched(result, written) if written else result

    builtins.open = io.open = opened  # type: ignore[assignment]

    @functools.wraps(_open)
    def os_opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        found = names("open", path_of(path)) if flags & os.O_CREAT and not getattr(_here, "busy", False) else []
        for name in found:
            visit(name, "before")
        descriptor = _open(path, flags, *args, **kwargs)
        for name in found:
            visit(name, "after")
        return descriptor

    os.open = os_opened  # type: ignore[assignment]


def install() -> None:
    """Wrap everything that has a name."""
    sys.path.insert(0, str(Path(__file__).parent))
    from fault_points import POINTS

    steps: dict[str, list[tuple[str, str, str]]] = {}
    for name, point in POINTS.items():
        if point.kind == "call":
            module, _, trail = point.where.partition(":")
            steps.setdefault(module, []).append((name, trail, point.within))
    sys.meta_path.insert(0, Wrapping(steps))  # type: ignore[arg-type]
    watch_files({name: (point.kind, point.where) for name, point in POINTS.items() if point.kind != "call"})


if FOLDER:
    install()
