"""What was named to be swept → the evaluations, one for each model, found sound before any runs."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.errors import BadInput, NotHere
from bfpo_bench.common.options import arguments
from bfpo_bench.common.validate import STRICT, validated
from bfpo_bench.common.yaml_text import yaml_file
from bfpo_bench.data.hub import nothing_fetched
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.evaluation.resolve import output_folder, resolve
from bfpo_bench.evaluation.target import find_target

CHECKPOINT = re.compile(r"checkpoint-\d+")

LONGEST = 200
"""Bytes of a run directory's name; with what the files beside it are called, 255 can be had."""

_NAME = re.compile(r"\w[^/\x00-\x1f]*")

NOT_HERE = ("output", "fresh")
"""Options of evaluate that a sweep gives none of: it names the run directories itself, and an
evaluation that is queued again is to go on."""


@dataclass(frozen=True)
class Row:
    """One evaluation of a sweep.

    Attributes:
        name: of its run directory in the sweep's folder.
        options: of the evaluation, whose ``output`` is that run directory.
    """

    name: str
    options: EvaluateOptions

    @property
    def gpus(self) -> int:
        """What its model takes of a node that has GPUs: one for each copy and each of its parts."""
        loading, serve = self.options.loading, self.options.serve
        if loading.backend == "openai" or loading.device == "cpu":
            return 0
        if serve is not None:
            return serve.gpus // serve.nodes
        return loading.tensor_parallel_size * loading.data_parallel_size


def served_over_nodes(rows: Sequence[Row], place: str) -> list[str]:
    """A line for each row whose server wants several nodes, where the place of a row is on one."""
    return [
        f"{row.name} is served over {row.options.serve.nodes} nodes, and {place} is on one; run it "
        "by evaluate, and leave it out here."
        for row in rows
        if row.options.serve is not None and row.options.serve.nodes > 1
    ]


@checked(frozen=True, config=STRICT)
class _File:
    """A YAML file of models: each as on the command line, or with options of its own."""

    models: tuple[Any, ...]


@dataclass(frozen=True)
class _Wanted:
    place: str
    options: EvaluateOptions
    name: str | None = None


def find_rows(
    models: Sequence[str],
    common: EvaluateOptions,
    folder: Path,
    checkpoints: bool = False,
    known: Mapping[str, str] | None = None,
    fetch: bool = True,
) -> list[Row]:
    """The evaluations of a sweep, in the order that they were named in.

    Args:
        models: folders, globs, hub ids, and YAML files that name such.
        common: options of every evaluation that has no other; its model and output count for none.
        folder: of the sweep.
        checkpoints: see :class:`bfpo_bench.sweeps.options.SweepOptions`.
        known: names that rows had before, by their :func:`key`; they keep them.
        fetch: get from the hub what is not here; else that is taken for granted.

    Raises:
        BadInput: a line for everything that is wrong with any of them.
    """
    faults: list[str] = []
    wanted: list[_Wanted] = []
    for text in models:
        try:
            wanted += _named(text, common, checkpoints)
        except BadInput as error:
            faults += error.lines
    if not models:
        faults.append("name models: folders, globs, hub ids, or a YAML file of them.")
    first: dict[str, _Wanted] = {}
    for one in wanted:
        again = first.setdefault(key(one.options), one)
        if again is not one:
            faults.append(
                f"the model {one.options.model} is given twice with the same options "
                f"({again.place} and {one.place}); leave one out."
            )
    rows = []
    for name, one in _names([*first.values()], known or {}, faults):
        rows.append(Row(name, replace(one.options, output=folder / name)))
    faults += _faults(rows, fetch)
    if faults:
        raise BadInput(*dict.fromkeys(faults))
    return rows


def key(options: EvaluateOptions) -> str:
    """What two rows differ in: the model, wherever its folder is named from, and all options."""
    model = str(_place(options.model)) if is_folder(options.model) else options.model
    return "\n".join(arguments(replace(options, model=model, output=None, report_to=())))


def is_folder(model: str) -> bool:
    """Whether a model is a folder here, and no hub id."""
    # Of os: a Path would raise for names that no file can have.
    return os.path.isdir(os.path.expanduser(model))  # noqa: PTH111, PTH112


def _place(model: str) -> Path:
    return Path(model).expanduser().resolve()


def _named(text: str, common: EvaluateOptions, checkpoints: bool) -> list[_Wanted]:
    """The evaluations that one text of the command line stands for."""
    if not text.endswith((".yaml", ".yml")) or is_folder(text):
        found = _models(text, checkpoints)
        return [_Wanted(one, replace(common, model=one)) for one in found]
    path = Path(text).expanduser()
    try:
        content = yaml_file(path, "the models")
    except OSError as error:
        raise BadInput(f"the models {path} cannot be read ({error.strerror}).") from error
    faults: list[str] = []
    wanted = []
    for number, entry in enumerate(validated(_File, content, f"the models {path}").models):
        place = f"{path}, models[{number}]"
        try:
            wanted += _entry(entry, place, common, checkpoints)
        except BadInput as error:
            faults += [f"{place}: {line}" for line in error.lines]
    if faults:
        raise BadInput(*faults)
    if not wanted:
        raise BadInput(f"{path} names no model; list some under models.")
    return wanted


def _entry(entry: Any, place: str, common: EvaluateOptions, checkpoints: bool) -> list[_Wanted]:
    if isinstance(entry, str):
        entry = {"model": entry}
    if not isinstance(entry, dict):
        raise BadInput(f"a model is a text, or keys and values, not {entry!r}.")
    options = dict(entry)
    model, name = options.pop("model", None), options.pop("name", None)
    if not isinstance(model, str) or not model.strip():
        raise BadInput("'model' is missing; say which one as a text.")
    for one in NOT_HERE:
        if one in options:
            raise BadInput(
                f"{one!r} is nothing that a model of a sweep has; its run directory is called by "
                "'name', and begins anew when it is deleted."
            )
    if name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        raise BadInput(f"{name!r} cannot name a run directory; give a name without slashes.")
    found = _models(model, checkpoints)
    if name is not None and len(found) > 1:
        raise BadInput(f"'name' is for one model, and {model} stands for {len(found)}.")
    return [_Wanted(place, replace(common, **options, model=one), name) for one in found]


def _models(text: str, checkpoints: bool) -> list[str]:
    """Folders and hub ids that a text stands for, those of a glob or training in their order."""
    if is_folder(text):
        found = [text]
    elif glob.has_magic(text):
        found = _folders(os.path.expanduser(text))  # noqa: PTH111
        if not found:
            raise BadInput(f"the glob {text!r} matches no folder here; mend it, or leave it out.")
    else:
        return [text]
    models = []
    for folder in found:
        inside = [one for one in _folders(f"{glob.escape(folder)}/checkpoint-*") if _number(one)]
        own = os.path.lexists(f"{folder}/config.json") or not inside
        models += [folder] if own else []
        models += inside if checkpoints or not own else []
    return models


def _folders(pattern: str) -> list[str]:
    return sorted(filter(is_folder, glob.glob(pattern)), key=_natural)  # noqa: PTH207


def _number(folder: str) -> bool:
    return is_folder(folder) and CHECKPOINT.fullmatch(_place(folder).name) is not None


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """A key to sort texts by: numbers in them by their size."""
    parts = re.split(r"(\d+)", text)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _names(
    wanted: Sequence[_Wanted], known: Mapping[str, str], faults: list[str]
) -> list[tuple[str, _Wanted]]:
    """A run directory's name for each, no two alike: as evaluate's, with the folder above it where
    that tells models apart.
    """
    names = [one.name or known.get(key(one.options)) for one in wanted]
    levels = [int(_number(one.options.model)) for one in wanted]
    taken: Counter[str] = Counter()
    # Longer names until no two are alike; more than all folders of a path there are not.
    for _ in range(32):
        tried = [
            name or _name(one, level)
            for name, one, level in zip(names, wanted, levels, strict=True)
        ]
        taken = Counter(tried)
        alike = [n for n, name in enumerate(tried) if taken[name] > 1 and names[n] is None]
        longer = [n for n in alike if _name(wanted[n], levels[n] + 1) != tried[n]]
        for number in longer:
            levels[number] += 1
        if not longer:
            break
    for name, times in taken.items():
        if len(os.fsencode(name)) > LONGEST:
            faults.append(
                f"no run directory is called by a name as long as {name[:40]}…; give the model a "
                "shorter 'name' in a YAML file of models."
            )
        if times > 1:
            same = [one for called, one in zip(tried, wanted, strict=True) if called == name]
            places = " and ".join(one.place for one in same)
            faults.append(
                f"{places} would both be run in the directory {name}; give one a 'name' of its own "
                "in a YAML file of models."
            )
    return list(zip(tried, wanted, strict=True))


def _name(one: _Wanted, levels: int) -> str:
    """What evaluate calls the run directory, after so many folders above the model's."""
    own = output_folder(one.options).name
    if not is_folder(one.options.model) or not levels:
        return own
    return "-".join([*_place(one.options.model).parts[1:-1][-levels:], own])


def _faults(rows: Iterable[Row], fetch: bool) -> list[str]:
    """All that `evaluate` would refuse; what models have in common is looked at once."""
    faults: list[str] = []
    seen: set[str] = set()
    with nullcontext() if fetch else nothing_fetched():
        for row in rows:
            shared = key(replace(row.options, model=""))
            try:
                find_target(row.options, row.options.loading.chosen_backend())
                if shared not in seen:
                    seen.add(shared)
                    resolve(row.options)
            except BadInput as error:
                if fetch or not isinstance(error, NotHere):
                    faults += error.lines
    return faults
