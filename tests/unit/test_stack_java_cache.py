"""The brokers' class cache: made once, named by what it must fit, and never a reason for which a broker does not start."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from live_adapters.stack import _java_cache, _kafka, _parts
from live_adapters.stack._jars import jar_folder
from sentra_sim.errors import StackError

PORTS = {name: 20_000 + number for number, name in enumerate(_kafka.port_names())}


@pytest.fixture
def jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTRA_CACHE", str(tmp_path / "cache"))
    jar_folder().mkdir(parents=True)
    (jar_folder() / "kafka.jar").write_text("classes")
    return jar_folder()


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []

    def train(home: Path, jars: Path, ports: dict[str, int], target: Path) -> None:
        (home / "kafka-1" / "data").mkdir(parents=True)
        target.write_text("cache")
        seen.append(target)

    monkeypatch.setattr(_java_cache, "_train", train)
    return seen


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def script(home: Path, jars: Path, ports: dict[str, int] = PORTS, **how: Path) -> tuple[list[str], list[str]]:
    formatting, starting = _kafka.launch(home, "stack", ports, 1, jars, **how).command[-1].splitlines()
    return shlex.split(formatting), shlex.split(starting)


def test_the_cache_is_made_once_and_leaves_nothing_else(tmp_path: Path, jars: Path, trainings: list[Path]) -> None:
    file = _java_cache.cache_file(jars)
    (file.parent / f"{file.name}.part" / "half").mkdir(parents=True)  # of a training that was killed
    said: list[str] = []
    assert _java_cache.made_cache(jars) is None
    for _ in range(2):
        _java_cache.ensure_cache(tmp_path / "home", jars, PORTS, said.append)
        assert _java_cache.made_cache(jars) == file
    assert len(trainings) == len(said) == 1
    assert trainings[0].parent.name == f"{file.name}.part"
    assert names(file.parent) == [jars.name, file.name, "stack.lock"]
    assert names(tmp_path / "home") == []


def test_other_jars_another_java_or_other_options_have_a_cache_of_their_own(
    tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {_java_cache.cache_file(jars)}
    os.utime(jars / "kafka.jar", (1, 1))
    seen.add(_java_cache.cache_file(jars))
    (jars / "log4j.jar").touch()
    seen.add(_java_cache.cache_file(jars))
    monkeypatch.setattr(_kafka, "JVM_OPTIONS", (*_kafka.JVM_OPTIONS, "-XX:+UseSerialGC"))
    seen.add(_java_cache.cache_file(jars))
    (tmp_path / "java" / "bin").mkdir(parents=True)
    (tmp_path / "java" / "release").write_text('JAVA_VERSION="26"')
    monkeypatch.setattr(_parts, "java", lambda: tmp_path / "java" / "bin" / "java")
    seen.add(_java_cache.cache_file(jars))
    assert len(seen) == 5


def test_the_newest_caches_are_kept(tmp_path: Path, jars: Path, trainings: list[Path]) -> None:
    made = []
    for second in range(5):
        os.utime(jars / "kafka.jar", (second, second))
        _java_cache.ensure_cache(tmp_path / "home", jars, PORTS, print)
        made.append(_java_cache.cache_file(jars))
        os.utime(made[-1], (second, second))
    assert [file.exists() for file in made] == [False, False, True, True, True]


def test_a_training_that_fails_is_told_once_and_not_tried_again(
    tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StackError("no room")

    monkeypatch.setattr(_java_cache, "_train", fail)
    said: list[str] = []
    for _ in range(2):
        _java_cache.ensure_cache(tmp_path / "home", jars, PORTS, said.append)
    file = _java_cache.cache_file(jars)
    assert said[1:] == [f"brokers start without a class cache: no room; remove {file} to have it tried again"]
    assert _java_cache.made_cache(jars) is None
    assert names(file.parent) == [jars.name, file.name, "stack.lock"]


def test_an_interrupted_training_is_tried_again(tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(home: Path, jars: Path, ports: dict[str, int], target: Path) -> None:
        target.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_java_cache, "_train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _java_cache.ensure_cache(tmp_path / "home", jars, PORTS, print)
    assert names(jars.parent) == [jars.name, "stack.lock"]


def test_a_cache_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SENTRA_CACHE", str(tmp_path / "file"))
    said: list[str] = []
    _java_cache.ensure_cache(tmp_path / "home", jars, PORTS, said.append)
    assert len(said) == 1
    assert said[0].startswith("brokers start without a class cache: ")


def test_brokers_and_their_formatting_tool_read_the_cache_and_only_a_training_broker_writes_one(
    tmp_path: Path, jars: Path
) -> None:
    for words in script(tmp_path, jars):
        assert not [word for word in words if "AOT" in word]
    for words in script(tmp_path, jars, cache=tmp_path / "k.aot"):
        assert f"-XX:AOTCache={tmp_path}/k.aot" in words
        assert "-XX:AOTMode=auto" in words  # a cache that does not fit is not used
        assert words.index("-Xmx512m") < words.index("kafka.Kafka" if "exec" in words else "format")
    formatting, starting = script(tmp_path, jars, record=tmp_path / "k.aot")
    assert f"-XX:AOTCacheOutput={tmp_path}/k.aot" in starting
    assert not [word for word in formatting if "AOT" in word]


def test_a_broker_that_trains_is_a_cluster_of_its_own(tmp_path: Path, jars: Path) -> None:
    alone = {name: PORTS[name] for name in ("kafka-1", "kafka-1-controller")}
    script(tmp_path, jars, alone)
    text = (tmp_path / "kafka-1" / "server.properties").read_text()
    assert f"controller.quorum.voters=1@127.0.0.1:{PORTS['kafka-1-controller']}\n" in text
    assert text.count("replication.factor=1\n") == 4
    assert "\nmin.insync.replicas=1\n" in text
    script(tmp_path, jars)
    text = (tmp_path / "kafka-1" / "server.properties").read_text()
    assert text.count("replication.factor=3\n") == 4
    assert "\nmin.insync.replicas=2\n" in text


@pytest.mark.parametrize("content", [None, b"", b"not a cache" * 1000])
def test_java_starts_without_a_word_when_the_cache_is_missing_empty_or_not_one(
    tmp_path: Path, jars: Path, content: bytes | None
) -> None:
    broken = tmp_path / "broken.aot"
    if content is not None:
        broken.write_bytes(content)
    _, words = script(tmp_path, jars, cache=broken)
    options = [word for word in words[1:] if word.startswith("-X") and not word.startswith("-Xlog:gc")]
    ended = subprocess.run([words[1], *options, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("openjdk ")
    assert ended.stderr == ""
