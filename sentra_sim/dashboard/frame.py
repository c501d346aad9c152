"""The frame around every page: header, navigation, light or dark, and the URL that carries the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import panel

from sentra_sim.plots import DARK, LIGHT, Look

pn: Any = panel  # typed in part only: calls of its components count as untyped

PAGES = {"trust": "Trust", "compare": "Compare"}
ASSETS = files("sentra_sim.dashboard") / "assets"
PARTS_CSS = (ASSETS / "parts.css").read_text(encoding="utf-8")
PAGE_CSS = (ASSETS / "page.css").read_text(encoding="utf-8")
PAGE_HTML = (ASSETS / "page.html").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Frame:
    """What a page puts into the frame: fixed HTML before and after, and named panels in between."""

    page: str
    panels: Mapping[str, Any]
    body: str = ""
    after: str = ""
    two_columns: bool = False


def is_dark() -> bool:
    """Tells whether the session's URL asks for the dark look."""
    return query().get("theme") == "dark"


def look() -> Look:
    """Returns the look of the session's plots."""
    return DARK if is_dark() else LIGHT


def query() -> dict[str, str]:
    """Returns the parameters of the session's URL; of a repeated one, the last."""
    found: Mapping[str, Sequence[bytes]] = pn.state.session_args or {}
    return {name: values[-1].decode("utf-8", "replace") for name, values in found.items() if values}


def html(text: str) -> Any:
    """Returns a pane of HTML in the frame's type and colours."""
    return pn.pane.HTML(text, stylesheets=[PARTS_CSS], sizing_mode="stretch_width", margin=0)


def plot(picture: Any) -> Any:
    """Returns a pane around a HoloViews plot that takes the width there is."""
    return pn.Column(
        pn.pane.HoloViews(picture, sizing_mode="stretch_width", margin=0, linked_axes=False),
        margin=0,
        sizing_mode="stretch_width",
    )


def page(content: Frame, folder: str) -> Any:
    """Returns the whole page as a Panel template."""
    template = pn.Template(PAGE_HTML, items=dict(content.panels), location=True)
    variables = {
        "heading": PAGES[content.page],
        "page": content.page,
        "links": _links(content.page),
        "layout": "two" if content.two_columns else "one",
        "folder": folder,
        "dark": is_dark(),
        "html_attrs": f'data-theme="{"dark" if is_dark() else "light"}"',
        "styles": PAGE_CSS + PARTS_CSS,
        "body": content.body,
        "after": content.after,
        "panels": list(content.panels),
    }
    for name, value in variables.items():
        template.add_variable(name, value)
    return template


def _links(current: str) -> list[dict[str, Any]]:
    kept = f"?{urlencode({'theme': query()['theme']})}" if "theme" in query() else ""
    return [{"href": f"./{name}{kept}", "text": text, "here": name == current} for name, text in PAGES.items()]
