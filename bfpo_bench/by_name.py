"""Functions of one's own, named as ``package.module:function``, and their parameters."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bfpo_bench.errors import BadInput, unknown_name


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
