"""Prints a token for a run in progress: `python -m live_adapters.pipeline.mint --config FILE --tenants 0,1`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from live_adapters.pipeline.config import read_config
from live_adapters.pipeline.tokens import mint_token
from sentra_sim.errors import InputError, SentraError


def main() -> int:
    """Prints the token; returns the exit code."""
    parser = argparse.ArgumentParser(prog="live_adapters.pipeline.mint", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="config.json in the run's scratch folder")
    parser.add_argument("--tenants", default="", help="numbers with commas between them; all when left out")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long it is good for (60)")
    given = parser.parse_args()
    try:
        secret = read_config(given.config).edge_secret
        print(mint_token(secret, _tenants(given.tenants), time.time() + 60.0 * given.minutes))
    except SentraError as error:
        print(f"mint: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _tenants(text: str) -> list[int] | None:
    try:
        return [int(number) for number in text.split(",")] if text else None
    except ValueError:
        raise InputError(f"--tenants: must be numbers with commas between them, got {text!r}; try 0,1") from None


if __name__ == "__main__":
    sys.exit(main())
