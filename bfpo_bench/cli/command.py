"""Commands whose options are the fields of :class:`bfpo_bench.common.options.Options`.

    app = command_app()

    @app.command(epilog="Example: …")
    @takes(EvaluateOptions)
    def evaluate(options: EvaluateOptions, dry_run: bool = False) -> None:
        '''What stands in the help.'''

The other parameters of the function are options that only the command has.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from bfpo_bench.common.options import Options

Command = Callable[..., None]


def command_app() -> typer.Typer:
    """The home of one command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def takes(
    *kinds: type[Options],
    first: Collection[str] = (),
    required: Collection[str] = (),
    without: Collection[str] = (),
    fixed: Mapping[str, Any] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Callable[[Command], Command]:
    """Gives a command the options of its first parameters, which are filled with them.

    Args:
        kinds: types of the first parameters of the command.
        first: names of options to be listed before all others; the command's own may be among them.
        required: options that the command needs although their field has a default.
        without: options that the command does not have.
        fixed: such options with what they are instead of their default; each of the
            types takes those that it has.
        renamed: options by the names that they have in this command instead of their own.
    """
    fixed, renamed = fixed or {}, renamed or {}

    # Those that take no such options do without pydantic.
    from bfpo_bench.common.options import named

    def decorate(command: Command) -> Command:
        hints = inspect.signature(command, eval_str=True).parameters
        own = dict(list(hints.items())[len(kinds) :])
        fields = [
            {
                renamed.get(name, name): (name, field)
                for name, field in named(kind).items()
                if name not in (*without, *fixed)
            }
            for kind in kinds
        ]
        parameters = {
            typed: _parameter(typed, field, name in required)
            for some in fields
            for typed, (name, field) in some.items()
        }
        every = {**parameters, **own}
        every = {**{name: every[name] for name in first}, **every}

        def run(**given: Any) -> None:
            with as_typed(renamed):
                options = [
                    kind(
                        **_own(kind, fixed),
                        **{name: given.pop(typed) for typed, (name, _) in some.items()},
                    )
                    for kind, some in zip(kinds, fields, strict=True)
                ]
            command(*options, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in every.values()]
        )
        run.__annotations__ = {}
        return run

    return decorate


def _own(kind: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    from bfpo_bench.common.options import named

    return {name: value for name, value in values.items() if name in named(kind)}


@contextmanager
def as_typed(renamed: Mapping[str, str]) -> Iterator[None]:
    """Has sentences about options name them as a command does that renames them.

    Args:
        renamed: as for :func:`takes`.
    """
    from bfpo_bench.common.errors import BenchError

    flags = {f"--{a.replace('_', '-')}": f"--{b.replace('_', '-')}" for a, b in renamed.items()}
    try:
        yield
    except BenchError as error:
        said = [re.sub(r"--[\w-]+", lambda m: flags.get(m[0], m[0]), one) for one in error.lines]
        error.lines, error.args = tuple(said), ("\n".join(said),)
        raise


def _parameter(name: str, field: FieldInfo, required: bool) -> inspect.Parameter:
    from bfpo_bench.common.options import Help

    told = [one for one in field.metadata if isinstance(one, Help)][-1]
    kind = told.given or _typed_kind(field.annotation)
    metavar = told.metavar or ("PATH" if "Path" in repr(field.annotation) else None)
    # Plain flags: nobody says --no-fresh.
    plain = name.replace("_", "-") if kind is bool and field.default is False else None
    flags = [f"--{flag}" for flag in [told.flag or plain] if flag]
    option = typer.Option(*flags, help=told.text, metavar=metavar)
    default: Any = inspect.Parameter.empty
    if not field.is_required() and not required:
        default = None if field.default_factory else field.default
        default = told.default if default is None else default
        default = None if default == () else default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _typed_kind(annotation: Any) -> Any:
    """A field's type as typer knows it: checks left out, names as texts, and paths, too, of which
    typer would take an empty one for the folder that it is in.
    """
    if get_origin(annotation) is Annotated:
        return _typed_kind(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, Union):
        return functools.reduce(operator.or_, map(_typed_kind, get_args(annotation)))
    return str if annotation is Path or get_origin(annotation) is Literal else annotation
