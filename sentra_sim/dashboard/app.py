"""Serves the dashboard: one process, loopback only, every resource from this machine."""

from __future__ import annotations

import errno
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from sentra_sim.dashboard import page_compare, page_trust
from sentra_sim.dashboard.frame import pn
from sentra_sim.dashboard.store import Store
from sentra_sim.errors import InputError

ADDRESS = "127.0.0.1"
PAGES: dict[str, Callable[[Store], Any]] = {
    "/": page_trust.build,
    "/trust": page_trust.build,
    "/compare": page_compare.build,
}


def serve(folder: Path, *, port: int = 0, show: bool = False, on_ready: Callable[[str], None] = print) -> None:
    """Serves the runs of a folder until interrupted (Ctrl-C, SIGINT).

    Args:
        folder: the workspace: run folders, `twin.yaml` and `validation.json`; it may be empty or missing.
        port: the port to listen on; 0 takes a free one.
        show: opens the user's browser.
        on_ready: called once with the address as soon as the page answers.

    Raises:
        InputError: the folder is a file, or the port is in use.
    """
    loop = IOLoop()
    loop.make_current()
    server = make_server(folder, port=port, loop=loop)
    address = f"http://{ADDRESS}:{server.port}/"
    try:
        server.start()
        loop.add_callback(on_ready, address)
        if show:
            loop.add_callback(webbrowser.open, address)
        loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        loop.close(all_fds=True)


def make_server(folder: Path, *, port: int, loop: IOLoop) -> Any:
    """Returns the Bokeh server, listening but not yet started; raises what `serve` raises."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: must be a folder that holds runs, got a file; name the folder, by default runs/")
    pn.extension()
    store = Store(folder)
    pages = {route: _page(build, store) for route, build in PAGES.items()}
    try:
        return pn.io.server.get_server(
            pages,
            port=port,
            address=ADDRESS,
            loop=loop,
            websocket_origin=[f"{name}:{port}" for name in (ADDRESS, "localhost")] if port else None,
            title=dict.fromkeys(pages, "Sentra lab"),
            start=False,
            show=False,
            verbose=False,
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise InputError(
            f"--port {port}: must be a free port, got one in use; choose another, or 0 for any free one"
        ) from None


def _page(build: Callable[[Store], Any], store: Store) -> Callable[[], Any]:
    # A plain function a session: Panel shows a functools.partial as an object instead of calling it.
    return lambda: build(store)
