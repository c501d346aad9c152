"""The stack that live tests share: brought up once per session."""

import os
from collections.abc import Iterator

import pytest

from live_adapters import stack as local_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.Endpoints]:
    """Yields the endpoints of a running stack, which commands started by the test find too, through SENTRA_HOME.

    An explicit SENTRA_HOME is used, and left up if it was; otherwise the session has a stack of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTRA_HOME", os.environ.get("SENTRA_HOME") or str(tmp_path_factory.mktemp("home")))
        was_up = bool(local_stack.status())
        try:
            yield local_stack.up(print)
        finally:
            if not was_up:
                local_stack.down()
