"""Which part of the package may know which, read from source alone.

Imports inside functions and those for types count like all others: what a module names, it knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import bfpo_bench

PACKAGE = Path(bfpo_bench.__file__).parent

Graph = Mapping[str, set[str]]
"""Module → the modules of the package that it imports."""

FLOORS = (
    ("cli",),
    ("estimate", "redteam", "toy_world"),
    ("evaluation", "leaderboard", "training"),
    ("helpfulness", "rankers"),
    ("export", "judges"),
    ("lm_eval", "tasks"),
    ("engines", "run"),
    ("client", "data", "models", "suites"),
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


@pytest.fixture(scope="module")
def graph() -> Graph:
    return imports(PACKAGE, "bfpo_bench")


def test_no_two_parts_import_each_other(graph: Graph) -> None:
    assert circle(graph) == []


def test_nothing_lies_loose(graph: Graph) -> None:
    loose = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "py.typed"}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert sorted(rooms) == sorted(name for floor in FLOORS for name in floor)
    assert len(FLOORS) <= 9


def test_arrows_point_down(graph: Graph) -> None:
    height = {name: -number for number, floor in enumerate(FLOORS) for name in floor}
    for number, floor in enumerate(FLOORS):
        print(f"floor {len(FLOORS) - number}: {', '.join(floor)}")
    wrong = [
        f"{module} imports {other}"
        for module, named in graph.items()
        for other in named
        if (own := part(module)) in height
        and part(other) != own
        and height.get(part(other), 0) >= height[own]
    ]
    assert not sorted(wrong)


def test_the_leaderboard_loads_no_model(graph: Graph) -> None:
    own = [module for module in graph if part(module) == "leaderboard"]
    loaders = {"engines", "judges", "rankers", "client"}
    assert sorted(module for module in reached(graph, own) if part(module) in loaders) == []


def test_the_finder_finds_what_it_should(tmp_path: Path) -> None:
    sources = {
        "__init__.py": "from house.roof import light\n",
        "roof/__init__.py": "",
        "roof/light.py": "def shine():\n    import house.wall\n",
        "wall.py": "from house.cellar import beam\n",
        "cellar/__init__.py": "from house.cellar.stock import wine\n",
        "cellar/beam.py": "import json\nfrom typing import TYPE_CHECKING\n",
        "cellar/stock.py": "if 0:\n    from house import door\nwine = 1\n",
        "door.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    graph = imports(tmp_path, "house")
    assert graph["house.roof.light"] == {"house.wall"}
    assert graph["house.wall"] == {"house.cellar", "house.cellar.beam"}
    assert graph["house.cellar.stock"] == {"house.door"}
    below = {"house.wall", "house.cellar", "house.cellar.beam", "house.cellar.stock", "house.door"}
    assert reached(graph, ["house.wall"]) == below
    assert circle(graph) == []
    (tmp_path / "door.py").write_text("import house.wall\n", encoding="utf-8")
    assert circle(imports(tmp_path, "house")) == ["wall", "cellar", "door"]
