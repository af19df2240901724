"""Functions of one's own, named as ``package.module:function``: their parameters and source."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, BenchError, unknown_name


def import_function(what: str, name: str, instead: Sequence[str] = ()) -> Callable[..., Any]:
    """The function of a ``package.module:function``.

    Args:
        what: what the function is to the user, for messages: ``loss``.
        instead: what else the user can do about one that is not there, for messages.

    Raises:
        BadInput: the module cannot be imported, or has no such function.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        ways = ["install its package", "put its folder on PYTHONPATH", *instead]
        raise BadInput(
            f"the {what} {name!r} cannot be imported: {error}; {', '.join(ways[:-1])}, or "
            f"{ways[-1]}."
        ) from error
    except Exception as error:  # whatever the code of somebody's own file can raise
        raise BadInput(
            f"the {what} {name!r} breaks while it is imported ({type(error).__name__}: {error}); "
            "mend its module."
        ) from error
    functions = {key: value for key, value in vars(module).items() if inspect.isfunction(value)}
    if not functions:
        raise BadInput(f"the module {module_name} of {what} {name!r} holds no function at all.")
    if attribute not in functions:
        raise unknown_name(f"function of the module {module_name}:", attribute, functions)
    return functions[attribute]


@contextmanager
def own_code(failing: str) -> Iterator[None]:
    """Around a call of somebody's own function, which can raise whatever it likes.

    Args:
        failing: what to call that, as the beginning of a sentence.

    Raises:
        BadInput: it raised something.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        raise BadInput(f"{failing}: {type(error).__name__}: {error}.") from error


def check_parameters(
    what: str,
    name: str,
    accepted: Collection[inspect.Parameter],
    parameters: Mapping[str, Any],
) -> None:
    """Every key must be one that the function takes, and none that it needs be left out.

    Args:
        accepted: the function's parameters that a recipe sets, ``**`` included.

    Raises:
        BadInput: an unknown or a missing key.
    """
    known = {
        item.name: item
        for item in accepted
        if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)
    }
    takes_any = any(item.kind is item.VAR_KEYWORD for item in accepted)
    for key in parameters:
        if key not in known and not takes_any:
            raise unknown_name(f"parameter of the {what} {name}:", key, known)
    for key, item in known.items():
        if item.default is item.empty and key not in parameters:
            raise BadInput(f"the {what} {name} needs the parameter {key!r}, which is not given.")


def source_digest(function: Callable[..., Any]) -> str:
    """Hash (16 hex digits) of the module that a function stands in, and of those written with it.

    These are the modules that it imports, and those import, from the folder that it was imported
    from: somebody's project. Installed packages count by their versions, which are recorded, and so
    does this one; of a function of its own, the modules of its room count.
    """
    function = inspect.unwrap(function)
    module = inspect.getmodule(function)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        try:
            text = inspect.getsource(function)
        except (OSError, TypeError):
            text = ""
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    path = Path(file)
    levels = module.__name__.count(".") + (path.name == "__init__.py")
    root = path.parents[levels]
    first = module.__name__.partition(".")[0]
    own = f"{module.__package__ if first == _OURS else first}."
    # Among installed packages each was written by somebody else.
    neighbours = not _INSTALLED.fullmatch(root.name)
    sources: dict[str, str] = {}
    waiting = [module.__name__]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        found = _module_file(root, name)
        if name in sources or found is None:
            continue
        if f"{name}.".startswith(own) or (neighbours and top not in (first, _OURS)):
            sources[name] = found.read_text(encoding="utf-8", errors="replace")
            waiting += _imports(sources[name], name, found.name == "__init__.py")
    text = sources.pop(module.__name__, "") or path.read_text(encoding="utf-8", errors="replace")
    text += "".join(f"\0{name}\0{source}" for name, source in sorted(sources.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_OURS = __name__.partition(".")[0]
_INSTALLED = re.compile(r"site-packages|dist-packages|python[\d.]+")


def _module_file(root: Path, name: str) -> Path | None:
    base = root.joinpath(*name.split("."))
    found = (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file())
    return next(found, None)


@functools.lru_cache(maxsize=1024)  # a second training of a process asks for the same
def _imports(source: str, name: str, is_package: bool) -> frozenset[str]:
    """Full names of all that a module's text imports, and of the packages that they lie in."""
    found: set[str] = set()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset()
    for node in ast.walk(tree):
        named: list[str] = []
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = name if is_package else name.rpartition(".")[0]
            try:
                start = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            named = [start, *(f"{start}.{alias.name}" for alias in node.names)]
        for one in named:
            parts = one.split(".")
            found.update(".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return frozenset(found)
