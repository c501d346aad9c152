"""The stack that live tests share: brought up once per session."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from live_adapters import measure as measuring
from live_adapters import stack as local_stack
from sentra_sim.scenario import load_scenario
from tests.live.back_half import SCENARIO
from tests.live.short_run import ShortRun, play

# Ends the stack when its standard input does: at the end of the session, and also when pytest is killed.
DOWN_AT_THE_END = "import sys; sys.stdin.read(); from live_adapters import stack; stack.down()"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.Endpoints]:
    """Yields the endpoints of a running stack, which commands started by the test find too, through SENTRA_HOME.

    An explicit SENTRA_HOME is used, and left up if it was; otherwise the session has a stack of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTRA_HOME", os.environ.get("SENTRA_HOME") or str(tmp_path_factory.mktemp("home")))
        if local_stack.status():
            yield local_stack.up(print)
            return
        command = [sys.executable, "-c", DOWN_AT_THE_END]
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as ending:
            yield local_stack.up(print)
            ending.communicate(timeout=60)


@pytest.fixture
def brief_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs whose CPU nobody looks at: what their processes burn without load is hardly waited for."""
    monkeypatch.setattr(measuring, "REST_S", 0.2)


@pytest.fixture(scope="session")
def short_run(stack: local_stack.Endpoints, tmp_path_factory: pytest.TempPathFactory) -> ShortRun:
    """Plays one short run; whoever looks at what such a run does looks at this one."""
    return play(load_scenario(SCENARIO), tmp_path_factory.mktemp("runs") / "run")
