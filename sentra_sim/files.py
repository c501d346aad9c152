"""Files appear whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_text_whole(path: str | Path, text: str) -> Path:
    """Writes UTF-8 text under a temporary name beside `path` and renames it, replacing what was there.

    Raises:
        OSError: the folder cannot be written to; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
