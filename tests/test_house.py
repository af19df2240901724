"""The house keeps its shape: rooms, floors, no circles; its page says what the code says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.house import FLOORS, PACKAGE, PAGE, Graph, circle, drawn, imports, part, reached


@pytest.fixture(scope="module")
def graph() -> Graph:
    return imports(PACKAGE, "bfpo_bench")


def test_no_two_parts_import_each_other(graph: Graph) -> None:
    assert circle(graph) == []


def test_no_two_files_import_each_other() -> None:
    """Not counting what the package of an imported module imports by itself, nor the version."""
    named: dict[str, set[str]] = {}
    files = imports(PACKAGE, "bfpo_bench").keys()
    for module in files:
        place = PACKAGE.parent.joinpath(*module.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        named[module] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                if full == {"bfpo_bench.__version__"}:
                    continue
                named[module] |= (full & files) or {str(node.module)} & files
    circles = [m for m in files if m in reached(named, named[m] - {m})]
    assert not circles


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


def test_the_page_is_drawn_from_the_code(graph: Graph) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == drawn(page, graph), "run python -m tests.house"


@pytest.mark.parametrize("name", ["architecture.md", "architecture-training.md"])
def test_the_pages_name_what_is_there(name: str) -> None:
    page = PAGE.with_name(name).read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:bfpo_bench/)?([a-z_]+/[\w/]+\.py)`", page))
    assert len(named) > 10
    places = (PACKAGE, PACKAGE / "training", PACKAGE / "training" / "data", PACKAGE.parent)
    missing = [one for one in sorted(named) if not any((at / one).is_file() for at in places)]
    assert not missing


def test_the_core_road_is_short() -> None:
    page = PAGE.read_text(encoding="utf-8")
    road = re.findall(r"`(bfpo_bench/[\w/]+\.py)`", page)
    assert len(road) == len(set(road)) > 12
    lines = [(PACKAGE.parent / one).read_text(encoding="utf-8").count("\n") for one in road]
    print(f"the core road: {len(road)} files, {sum(lines)} lines")
    assert sum(lines) <= 3000


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_what_is_imported_from_the_package_is_there(folder: str) -> None:
    """Imports inside functions too, which nothing else reads before they run."""
    missing = []
    for path in (PACKAGE.parent / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("bfpo_bench"):
                here = f"{path.relative_to(PACKAGE.parent)}, line {node.lineno}: {node.module}"
                missing += [
                    f"{here}.{a.name}" for a in node.names if not defined(node.module, a.name)
                ]
    assert not missing


def test_a_benchmark_imports_no_test() -> None:
    named = {
        path.name: {
            n.module
            for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.ImportFrom)
        }
        for path in (PACKAGE.parent / "benchmarks").glob("*.py")
    }
    assert any("benchmarks.pages" in modules for modules in named.values())
    wrong = [n for n, modules in named.items() if any(str(m).startswith("tests") for m in modules)]
    assert not wrong


def defined(module: str | None, name: str) -> bool:
    """Whether a module of the package makes a name, or holds a module of that name."""
    place = PACKAGE.parent.joinpath(*str(module).split("."))
    if place.joinpath(name).is_dir() or place.joinpath(f"{name}.py").is_file():
        return True
    return name in names_of(place / "__init__.py" if place.is_dir() else place.with_suffix(".py"))


@cache
def names_of(file: Path) -> set[str]:
    """Everything that a module's source gives a name to; nothing where there is no such file."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


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
