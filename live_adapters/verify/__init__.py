"""The exactly-once checker: what a run left in the log and in the stores, held against each other (docs/verify.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from live_adapters.verify.stores import Verdict, verify_stores

__all__ = ["Verdict", "verify_stores"]


def __getattr__(name: str) -> Any:
    # A run folder is judged without the clients of the stores, which are not installed everywhere.
    if name in __all__:
        from live_adapters.verify import stores

        return getattr(stores, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
