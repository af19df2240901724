"""The house: which part of the package knows which, read from source alone, and its picture.

    python -m tests.house        # writes the picture in docs/architecture.md anew

Imports inside functions and those for types count like all others: what a module names, it knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import bfpo_bench

PACKAGE = Path(bfpo_bench.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"

Graph = Mapping[str, set[str]]
"""Module → the modules of the package that it imports."""

FLOORS = (
    ("cli",),
    ("estimate", "redteam", "sweeps", "toy_world"),
    ("evaluation", "leaderboard", "training"),
    ("helpfulness", "imports", "rankers"),
    ("also", "export", "judges"),
    ("lm_eval", "tasks"),
    ("engines", "run"),
    ("client", "data", "models", "suites", "trackers"),
    ("common",),
)
"""The rooms from the roof down: each may know those of lower floors, and no other of its own."""


def imports(root: Path, package: str) -> Graph:
    """The imports of a package's modules among themselves; of ``package`` itself, none."""
    files = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join((package, *parts)).removesuffix(".__init__")] = path
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute here"
                named.add(str(node.module))
                named.update(f"{node.module}.{alias.name}" for alias in node.names)
        # Who imports a module of a package also runs the package's own __init__.
        named |= {name[:dot] for name in named for dot, sign in enumerate(name) if sign == "."}
        graph[module] = (named & files.keys()) - {module, package}
    return graph


def part(module: str) -> str:
    """The folder or file right under the package that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def reached(graph: Graph, start: Iterable[str]) -> set[str]:
    """All modules that some modules import, those import, and so on; themselves included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found


def circle(graph: Graph) -> list[str]:
    """Some parts in the order in which each imports the next, the last the first; [] if none do."""
    parts: dict[str, set[str]] = {}
    for module, named in graph.items():
        own = part(module)
        parts.setdefault(own, set()).update({part(other) for other in named} - {own, ""})
    done: set[str] = set()

    def search(path: list[str]) -> list[str]:
        for following in sorted(parts[path[-1]] - done):
            if following in path:
                return path[path.index(following) :]
            if found := search([*path, following]):
                return found
        done.add(path[-1])
        return []

    return next((found for one in sorted(parts) if (found := search([one]))), [])


def rooms(graph: Graph) -> dict[str, set[str]]:
    """Each room and those that its modules name."""
    found: dict[str, set[str]] = {name: set() for floor in FLOORS for name in floor}
    for module, named in graph.items():
        if (own := part(module)) in found:
            found[own] |= {part(other) for other in named} & found.keys() - {own}
    return found


def picture(graph: Graph) -> str:
    """Floors and rooms in Mermaid; an arrow that follows from others is left out."""
    knows = rooms(graph)
    below = {name: reached(knows, knows[name]) for name in knows}
    lines = ["```mermaid", "flowchart TB"]
    for number, floor in enumerate(FLOORS):
        lines.append(f'  subgraph F{len(FLOORS) - number}["{len(FLOORS) - number}"]')
        lines += [f"    {name}" for name in floor]
        lines.append("  end")
    for name, named in knows.items():
        direct = {o for o in named if not any(o in below[x] for x in named - {o})}
        lines += [f"  {name} --> {other}" for other in sorted(direct)]
    return "\n".join([*lines, "```"])


def drawn(page: str, graph: Graph) -> str:
    """The page with today's picture in it."""
    before, _, rest = page.partition("```mermaid")
    return before + picture(graph) + rest.partition("```")[2]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(drawn(text, imports(PACKAGE, "bfpo_bench")), encoding="utf-8")
