"""The `sentra` command. Each command imports what it needs when it runs, so that `sentra --help` answers at once."""

from sentra_sim.cli.main import main

__all__ = ["main"]
