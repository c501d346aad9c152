"""Where the stack keeps things, and the lock that lets one `up` or `down` work at a time.

- `$SENTRA_HOME` (default `.sentra` in the current directory): state file, configuration, broker data, logs.
- `$SENTRA_CACHE` (default `~/.cache/sentra-lab`): what is downloaded once for every checkout.
- the *short folder* under /var/tmp: sockets (a socket path ends at 107 bytes) and PostgreSQL's data, which as root
  must be reachable for another user even if the checkout is not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentra_sim.errors import StackError

_ODD = set(",:;%\\'\"*\n\r")


def home() -> Path:
    """Returns the stack's home as an absolute path; it need not exist."""
    return _plain(Path(os.environ.get("SENTRA_HOME") or ".sentra").expanduser().resolve(), "SENTRA_HOME")


def cache() -> Path:
    """Returns the download cache; it need not exist."""
    return _plain(Path(os.environ.get("SENTRA_CACHE") or "~/.cache/sentra-lab").expanduser().resolve(), "SENTRA_CACHE")


def _plain(folder: Path, variable: str) -> Path:
    """Refuses paths that Java's, Kafka's or Redis' own configuration would read as something else."""
    if odd := sorted(set(str(folder)) & _ODD):
        raise StackError(f"{folder}: must not contain {' '.join(map(repr, odd))}; set {variable} to another folder")
    return folder


def short_folder(home_folder: Path) -> Path:
    """Returns the path of the short folder that belongs to a home."""
    digest = hashlib.sha256(str(home_folder).encode()).hexdigest()[:10]
    return temporary_root() / f"sentra-{os.geteuid()}-{digest}"


def temporary_root() -> Path:
    """Returns a disk-backed folder for temporary data that every user may enter."""
    root = Path("/var/tmp")
    return root if os.access(root, os.W_OK) else Path(tempfile.gettempdir())


def make_private(folder: Path, *, enter: bool) -> Path:
    """Makes a folder below a world-writable one, or accepts it when only this user can have written in it.

    Args:
        enter: others may enter and read, never write.

    Raises:
        StackError: someone else owns or can write it: what lies in it cannot be trusted.
    """
    folder.mkdir(exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StackError(f"{folder}: must be a folder of user {os.geteuid()}, got another's; remove it and try again")
    folder.chmod(0o755 if enter else 0o700)
    return folder


@contextmanager
def locked(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds a folder's lock; a killed holder lets go.

    Args:
        folder: Is made when there is none.
        waiting: Called once when another process has the lock.

    Raises:
        StackError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StackError(
            f"{folder}: must be a writable folder, got {error.strerror}; set SENTRA_HOME or SENTRA_CACHE to one"
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
