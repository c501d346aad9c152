"""`python -m live_adapters.pipeline.contracts check` says whether the contracts are kept, `accept` makes new promises."""

from __future__ import annotations

import argparse
import sys

from live_adapters.pipeline.contracts.check import accept, broken
from sentra_sim.errors import SentraError

REMEDY = "take it back, add beside it, or accept it (docs/contracts.md)"


def main() -> int:
    """Does what the arguments say; returns the exit code, 1 when a contract is broken."""
    parser = argparse.ArgumentParser(prog="live_adapters.pipeline.contracts", description=__doc__)
    parser.add_argument("what", choices=("check", "accept"))
    try:
        if parser.parse_args().what == "accept":
            print("\n".join(f"contracts: wrote {file}" for file in accept()))
            return 0
        lines = broken()
    except SentraError as error:
        print(f"contracts: {error}", file=sys.stderr)
        return error.exit_code
    for line in lines:
        print(f"contracts: {line}; {REMEDY}", file=sys.stderr)
    if not lines:
        print("contracts: kept")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
