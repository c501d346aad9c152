"""Kafka's jars: resolved by jgo without Maven, kept in the cache for every checkout."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from live_adapters.stack.folders import cache, locked
from sentra_sim.errors import StackError

KAFKA_VERSION = "4.1.1"
_LOG4J_VERSION = "2.25.2"
_SCALA = "2.13"
# Measured for this version; they scale a progress bar and announce the download, nothing depends on them.
EXPECTED_JARS = 46
EXPECTED_BYTES = 45_000_000

Download = Callable[[str, int, int], None]
"""Called with the file being fetched, jars done, and bytes done."""


def _endpoint() -> str:
    # Named one by one: from kafka alone, jgo takes a kafka-clients of another version.
    parts = [f"org.apache.kafka:{name}:{KAFKA_VERSION}" for name in (f"kafka_{_SCALA}", "kafka-clients")]
    parts += [f"org.apache.logging.log4j:{name}:{_LOG4J_VERSION}" for name in ("log4j-core", "log4j-slf4j-impl")]
    return "+".join(parts)


def jar_folder() -> Path:
    """Returns where the jars of this version are or will be."""
    return cache() / f"kafka-{KAFKA_VERSION}"


def ensure_jars(report: Callable[[str], None], download: Download | None = None) -> Path:
    """Returns the folder of the jars, fetching them first if need be: about 46 jars, 45 MB.

    Raises:
        StackError: they can be neither found nor fetched, or do not fit together.
    """
    folder = jar_folder()
    if not folder.is_dir():
        with locked(cache(), lambda: report("waiting for another download of the kafka jars")):
            if not folder.is_dir():
                report(
                    f"fetching Apache Kafka {KAFKA_VERSION}, once: {EXPECTED_JARS} jars, {EXPECTED_BYTES / 1e6:.0f} MB"
                )
                _fetch(folder, download or (lambda file, jars, size: None))
    check_versions(list(folder.iterdir()))
    return folder


def _fetch(folder: Path, download: Download) -> None:
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a fetch that was killed
    try:
        jars = _resolve(part, download)
        check_versions(jars)
        target = part / "class-path"
        target.mkdir()
        for jar in jars:
            shutil.move(jar, target / jar.name)
        target.rename(folder)
    except OSError as error:
        raise StackError(f"kafka jars: {folder} must be writable, got {error}; set SENTRA_CACHE") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _resolve(part: Path, download: Download) -> list[Path]:
    """Downloads into a fresh repository, so that no half-fetched file of an earlier try is taken for a whole one."""
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext, PythonResolver

    logging.getLogger("jgo").setLevel(logging.CRITICAL)
    context = MavenContext(
        resolver=PythonResolver(progress_callback=_counter(download)),
        repo_cache=part / "repository",
        remote_repos={"maven": os.environ["SENTRA_MAVEN"]} if os.environ.get("SENTRA_MAVEN") else None,
    )
    builder = EnvironmentBuilder(context=context, cache_dir=part / "jgo", link_strategy=LinkStrategy.COPY)
    try:
        environment = builder.from_endpoint(endpoint=_endpoint())
    except Exception as error:  # requests, jgo and the parser of its answers all raise their own
        raise StackError(
            f"kafka jars: {EXPECTED_JARS} jars ({EXPECTED_BYTES / 1e6:.0f} MB) must be downloaded once, got "
            f"{_cause(error)}; connect once, set SENTRA_MAVEN to a reachable Maven mirror, or copy {cache()} from a "
            "machine that has it"
        ) from error
    return sorted(Path(environment.path).glob("*/*.jar"))


def _counter(download: Download) -> Callable[[str, int], AbstractContextManager[Callable[[int], None]]]:
    done = {"jars": 0, "bytes": 0}

    @contextmanager
    def one_file(name: str, size: int) -> Iterator[Callable[[int], None]]:
        def update(count: int) -> None:
            done["bytes"] += count
            download(name, done["jars"], done["bytes"])

        yield update
        done["jars"] += name.endswith(".jar")

    return one_file


def _cause(error: BaseException) -> str:
    """Returns the innermost reason, in one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def check_versions(jars: list[Path]) -> None:
    """Checks that the brokers' class path is complete and of one Kafka version.

    Raises:
        StackError: names the jars that do not fit.
    """
    kafka = [jar.name for jar in jars if jar.name.startswith("kafka")]
    strangers = [name for name in kafka if not name.endswith(f"-{KAFKA_VERSION}.jar")]
    missing = {f"kafka_{_SCALA}-{KAFKA_VERSION}.jar", f"kafka-clients-{KAFKA_VERSION}.jar"} - set(kafka)
    if strangers or missing:
        got = ", ".join(sorted(strangers) or [f"no {name}" for name in sorted(missing)])
        raise StackError(
            f"kafka jars: all must be of version {KAFKA_VERSION}, got {got}; remove {cache()} and try again"
        )
