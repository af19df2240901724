"""What a user can ask for: dataclasses whose fields are the options of commands and of Python.

    @dataclass(frozen=True, kw_only=True, config=STRICT)      # pydantic.dataclasses
    class Loading(Options):
        batch_size: Annotated[Count | None, Help("Sequences per batch.")] = None

    @dataclass(frozen=True, kw_only=True, config=STRICT)
    class EvaluateOptions(Options):
        model: Annotated[str, Help("Checkpoint folder or hub id.")]
        loading: Loading = Loading()

    EvaluateOptions(model="m", batch_size=8).loading.batch_size == 8

An option's name, type, default, help and check stand on its field and nowhere else:
:mod:`bfpo_bench.cli.command` makes the options of a command from the same fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from pydantic_core import ArgsKwargs

from bfpo_bench.common.errors import unknown_name
from bfpo_bench.common.validate import STRICT, joined, sentence

Count = Annotated[int, Field(ge=1)]
"""A whole number, at least 1."""


def path(value: Any) -> Any:
    """A text as the path that it stands for; anything else as it is.

    Raises:
        ValueError: it is empty, which would stand for the folder this process is in.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise ValueError(
            "an empty text is no path (a variable of the shell that is not set?); give one, or "
            "leave the option out."
        )
    return Path(value)


Place = Annotated[Path, BeforeValidator(path)]
"""A path; a text stands for one."""


def one_of(what: str, names: Sequence[str]) -> AfterValidator:
    """The check of an option that is one of some names."""

    def check(value: str) -> str:
        if value not in names:
            raise unknown_name(what, value, names)
        return value

    return AfterValidator(check)


def split(separator: str = ",") -> BeforeValidator:
    """Several names, of which a command line makes one text; None for none."""

    def names(value: Any) -> Any:
        if value is None:
            return ()
        if isinstance(value, str):
            parts = tuple(part.strip() for part in value.split(separator) if part.strip())
            if not parts:  # an unset variable of a shell, say
                raise ValueError(f"{value!r} names nothing; leave the option out for all.")
            return parts
        return tuple(value) if isinstance(value, list) else value

    return BeforeValidator(names)


def names_in(
    parts: Sequence[str], separator: str, known: Callable[[str], bool] | None = None
) -> list[str]:
    """What was split at a separator, with the names whole that hold it themselves.

    Args:
        known: whether there is something of a name; else whether there is such a file.
    """
    known = known or _is_file
    found = []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if known(separator.join(parts[:end]).strip())), 1)
        found.append(separator.join(parts[:end]).strip())
        parts = parts[end:]
    return found


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError):  # too long for a path, or there is no such ~user
        return False


@dataclasses.dataclass(frozen=True)
class Help:
    """What the command line is to know of an option besides type and default.

    Attributes:
        text: what it means.
        flag: its name without the dashes, where that is not the field's.
        metavar: what stands for its value in the help.
        given: type of the value that is typed, where that is not the field's; the field's own
            validator makes the one of the other.
        default: what stands for the field's default there.
    """

    text: str
    flag: str | None = None
    metavar: str | None = None
    given: Any = None
    default: Any = None


@dataclass(frozen=True, config=STRICT)
class Options:
    """Options that belong together. Those of members that are options too go by their own names.

    Raises:
        BadInput: an unknown or missing option, or a value that is not right; names the option.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, ArgsKwargs):
            value = ArgsKwargs(value.args, _gathered(cls, value.kwargs or {}))
        try:
            return handler(value)
        except ValidationError as error:
            raise sentence(error, cls, "the options", _flag) from None

    @classmethod
    def of(cls, other: Options, **changes: Any) -> Self:
        """Those that other options hold as well, and what is changed of them."""
        names = (field.name for field in dataclasses.fields(cls) if hasattr(other, field.name))
        return cls(**{**{name: getattr(other, name) for name in names}, **changes})


def members(kind: type[Options]) -> Iterator[tuple[str, type[Options]]]:
    """The fields that are options themselves, with their types."""
    for name, field in _fields(kind).items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            yield name, field.annotation


def named(kind: type[Options]) -> dict[str, FieldInfo]:
    """Every option by its name, those of members in the place of these."""
    inside = dict(members(kind))
    found = {}
    for name, field in _fields(kind).items():
        found.update(named(inside[name]) if name in inside else {name: field})
    return found


def _changed(options: Options) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Options that are not what they are by default, members' too: name, field and value."""
    inside = dict(members(type(options)))
    for name, field in _fields(type(options)).items():
        value = getattr(options, name)
        if name in inside:
            yield from _changed(value)
        elif value != field.get_default(call_default_factory=True):
            yield name, field, value


def chosen(options: Options) -> list[str]:
    """The names of options that are not what they are by default."""
    return [name for name, _, _ in _changed(options)]


def arguments(options: Options) -> list[str]:
    """What is typed for these options on a command line: those that are not as by default."""
    found = []
    for name, field, value in _changed(options):
        told = next(one for one in reversed(field.metadata) if isinstance(one, Help))
        flag = (told.flag or name).replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, Mapping):
            found += [f"--{flag}={key}={of}" for key, of in value.items()]
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            found.append(f"--{flag}={text}")
    return found


def _fields(kind: type[Options]) -> Mapping[str, FieldInfo]:
    found: Mapping[str, FieldInfo] = kind.__pydantic_fields__  # type: ignore[attr-defined]
    return found


def _gathered(kind: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of fields, from values by those of options."""
    inside, known = dict(members(kind)), named(kind)
    for name in values:
        whole = name in inside and isinstance(values[name], inside[name])
        if name not in known and not whole:
            raise unknown_name("option", name, known)
    found = dict(values)
    for member, of in inside.items():
        own = {name: found.pop(name) for name in named(of).keys() & found.keys()}
        if own and member in found:
            found[member] = dataclasses.replace(found[member], **own)
        elif own:
            found[member] = of(**own)
    return found


def _flag(where: str, place: Iterable[int | str]) -> str:
    name, *rest = place or ("",)
    return joined(f"--{str(name).replace('_', '-')}", rest) if name else where
