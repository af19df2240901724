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
import types
from collections.abc import Callable, Collection
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
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> Callable[[Command], Command]:
    """Gives a command the options of its first parameters, which are filled with them.

    Args:
        kinds: types of the first parameters of the command.
        first: names of options to be listed before all others.
        required: options that the command needs although their field has a default.
        only: the options that the command has, where it has few.
        without: options that the command does not have.
    """

    # Those that take no such options do without pydantic.
    from bfpo_bench.common.options import named

    def decorate(command: Command) -> Command:
        hints = inspect.signature(command, eval_str=True).parameters
        own = dict(list(hints.items())[len(kinds) :])
        fields = [
            {
                name: field
                for name, field in named(kind).items()
                if name not in without and (not only or name in only)
            }
            for kind in kinds
        ]
        parameters = {
            name: _parameter(name, field, name in required)
            for some in fields
            for name, field in some.items()
        }
        every = {**{name: parameters[name] for name in first}, **parameters, **own}

        def run(**given: Any) -> None:
            options = [
                kind(**{name: given.pop(name) for name in some})
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


def _parameter(name: str, field: FieldInfo, required: bool) -> inspect.Parameter:
    from bfpo_bench.common.options import Help

    told = [one for one in field.metadata if isinstance(one, Help)][-1]
    kind = told.given or _typed_kind(field.annotation)
    # Plain flags: nobody says --no-fresh.
    plain = name.replace("_", "-") if kind is bool and field.default is False else None
    flags = [f"--{flag}" for flag in [told.flag or plain] if flag]
    option = typer.Option(*flags, help=told.text, metavar=told.metavar)
    default: Any = inspect.Parameter.empty
    if not field.is_required() and not required:
        default = None if field.default_factory else field.default
        default = told.default if default is None else default
        default = None if default == () else default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _typed_kind(annotation: Any) -> Any:
    """A field's type as typer knows it: checks left out, names as texts."""
    if get_origin(annotation) is Annotated:
        return _typed_kind(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, Union):
        return functools.reduce(operator.or_, map(_typed_kind, get_args(annotation)))
    return str if get_origin(annotation) is Literal else annotation
