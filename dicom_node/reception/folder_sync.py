"""Folders of studies, kept open, and their syncs in threads of their own.

File and folder are synced at the same time: the disk then does both with one flush, and under load a flush is most of an answer.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

#: Folders kept open; another one costs an open and no more.
_MAX_OPEN = 128


class Folder:
    """A folder that is open; closed when nobody uses it any more."""

    def __init__(self, path: Path) -> None:
        """Open it; raises ``FileNotFoundError`` where there is none."""
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    @property
    def exists(self) -> bool:
        """Whether it was not removed since; another one may stand in its place."""
        return os.fstat(self.descriptor).st_nlink > 0

    def sync(self) -> None:
        """Bring its names to the disk; raises ``OSError``."""
        os.fsync(self.descriptor)


class OpenFolders:
    """The folders used last. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: OrderedDict[Path, Folder] = OrderedDict()

    def get(self, path: Path) -> Folder | None:
        """Return a folder that is open and still there."""
        with self._lock:
            folder = self._folders.get(path)
            if folder is None:
                return None
            if not folder.exists:
                del self._folders[path]
                return None
            self._folders.move_to_end(path)
            return folder

    def add(self, path: Path) -> Folder:
        """Open a folder; raises ``OSError``."""
        folder = Folder(path)
        with self._lock:
            self._folders[path] = folder
            if len(self._folders) > _MAX_OPEN:
                self._folders.popitem(last=False)
        return folder

    def forget(self, path: Path) -> None:
        """Open it anew the next time."""
        with self._lock:
            self._folders.pop(path, None)


class Sync:
    """A sync that goes on in another thread."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()
        _threads.submit(self)

    def run(self) -> None:
        """Do it."""
        try:
            self._work()
        except BaseException as error:  # raised again where it is waited for
            self._error = error
        finally:
            self._done.release()

    def wait(self) -> None:
        """Wait for its end; raises ``OSError`` if the disk did not take it."""
        self._done.acquire()
        if self._error is not None:
            raise self._error


class _Threads:
    """Threads that are kept and used again, one for each sync under way; they keep no process from ending."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle = 0
        self._work: SimpleQueue[Sync] = SimpleQueue()

    def submit(self, sync: Sync) -> None:
        """Have this done at once."""
        with self._lock:
            start, self._idle = self._idle == 0, max(0, self._idle - 1)
        self._work.put(sync)
        if start:
            threading.Thread(target=self._run, name="folder-sync", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get().run()
            with self._lock:
                self._idle += 1


_threads = _Threads()
