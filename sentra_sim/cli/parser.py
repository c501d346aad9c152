"""The parser of all commands."""

from __future__ import annotations

import argparse

from sentra_sim.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises what `main` prints as one line."""
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")
