"""Recipes as files: a few lines of YAML.

A recipe is checked as a whole before anything is loaded; an unknown key is told with the nearest
known one. ``extends: NAME`` takes another recipe and changes what is written below it, so that the
rows of a table differ where their recipes differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.foreign import place_of
from bfpo_bench.common.text import visible
from bfpo_bench.common.validate import validated
from bfpo_bench.common.yaml_text import NoRepeats, YamlFault, yaml_file, yaml_value
from bfpo_bench.training.data.formats import FORMATS
from bfpo_bench.training.data.preferences import PAIRINGS
from bfpo_bench.training.recipe import RENAMED, Recipe

FOLDER = Path(__file__).parent / "recipes"

PAIRS = {
    "preference": [*PAIRINGS],
    "sft": [*PAIRINGS, "chat", "attributes", "prompts"],
    "reward": ["prompts", "chat"],
}
"""What each kind of recipe can make of a set."""


def recipe_names() -> list[str]:
    """Recipes that come with the package, as ``folder/name``."""
    return sorted(
        path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.yaml")
    )


def load_recipe(name: str, changes: Sequence[str] = (), base: str | None = None) -> Recipe:
    """Reads a recipe by name or path.

    Args:
        name: a bundled recipe's name (``mistral/bfpo``), or the path of a YAML file.
        changes: ``key=value`` with dots for nested keys, the value in YAML:
            ``optimization.learning_rate=1e-6``, ``layers=[mlp.down_proj]``, ``data.0.limit=100``;
            one text stands for a list of one.
        base: model to start from, instead of the recipe's.

    Raises:
        BadInput: no such recipe, or something in it is not right.
    """
    content = _read(name)
    for change in (changes,) if isinstance(changes, str) else changes:
        _change(content, change)
    _refuse_old_keys(content, name)
    recipe = validated(Recipe, _with_first(content, base), f"recipe {name}")
    # Known before the first is read, which can take long.
    for kind, one in ((stage.kind, one) for stage in recipe.stages for one in stage.every_set):
        if one.pairs not in PAIRS[kind]:
            what = f"value of 'pairs' in set {one.name!r}:"
            raise unknown_name(what, one.pairs, PAIRS[kind])
        if one.format is not None and one.format not in FORMATS:
            raise unknown_name("format of preference data", one.format, FORMATS)
    return recipe


def recipe_text(name: str) -> str:
    """A recipe as YAML that needs no other: what it extends is merged in.

    Its first comment stands on top. Defaults are not written out.

    Raises:
        BadInput: as :func:`load_recipe`.
    """
    load_recipe(name)
    comment = []
    for line in _path(name, None).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(visible(line) + "\n")
    content = yaml.dump(
        _read(name), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100
    )
    return "".join(comment) + str(content)


def as_yaml(recipe: Mapping[str, Any]) -> str:
    """A recipe, from its ``as_dict``, as a file that says the same: with every default."""
    # Through JSON, because YAML would write tuples as tagged ones.
    content = json.loads(json.dumps(recipe))
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def _refuse_old_keys(content: dict[str, Any], recipe: str) -> None:
    for part, names in RENAMED.items():
        for place, keys in (("", content.get(part)), (f"{part}." * bool(part), content)):
            for old in (key for key in keys if key in names) if isinstance(keys, dict) else ():
                raise BadInput(
                    f"recipe {recipe}: {old!r} is called {place + names[old]!r} now; write that."
                )


def _read(name: str, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = _path(name, seen[-1].parent if seen else None)
    if path in seen:
        raise BadInput(f"{seen[-1]}: 'extends' goes round in a circle; take one of them out.")
    try:
        content = yaml_file(path, "the recipe", _Loader)
    except OSError as error:
        raise BadInput(
            f"there is no recipe {str(path)!r} ({error.strerror}); give the path of a YAML file or "
            f"one of {', '.join(recipe_names())}."
        ) from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} holds no recipe: its keys and values are missing.")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    return _merge(_read(str(parent), (*seen, path)), content)


def _path(name: str, beside: Path | None) -> Path:
    if name in recipe_names():
        return FOLDER / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return place_of(beside / name if beside else Path(name))
    raise unknown_name("recipe", name, recipe_names())


class _Loader(NoRepeats):
    """YAML in which ``5e-7`` is a number, as everywhere else (YAML 1.1 wants ``5.0e-7``), and a
    date the text that it is.
    """

    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [one for one in resolvers if not one[0].endswith("timestamp")]
        for first, resolvers in NoRepeats.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that :class:`_Loader` would take for something else; in ASCII."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        # A function's parameters belong to that function, and rewards to what combines them.
        whole = key in ("loss_parameters", "combination_parameters", "rewards", "relabel")
        mergeable = isinstance(below, dict) and isinstance(value, dict) and not whole
        merged[key] = _merge(below, value) if mergeable else value  # type: ignore[arg-type]
    return merged


def _with_first(content: dict[str, Any], base: str | None) -> dict[str, Any]:
    """A recipe whose first stage says all of itself.

    Args:
        base: what the first of all stages starts from, instead of what they say.
    """
    own = {key: value for key, value in content.items() if key != "first"}
    shared = {key: value for key, value in own.items() if key not in ("merge", "rounds")}
    if base is not None:
        own["base"] = shared["base"] = base
    first = content.get("first")
    if not isinstance(first, dict):
        return own if first is None else {**own, "first": first}
    whole = _merge({**shared, "method": f"{own.get('method')}-first"}, first)
    return {**own, "first": _with_first(whole, base)}


def _change(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set {change!r} is not of the form key=value.")
    try:
        value = yaml_value(text, _Loader)
    except YamlFault as fault:
        raise BadInput(f"--set {change!r}: the value is not YAML ({fault}); mend it.") from None
    at: Any = content
    *path, last = key.strip().split(".")
    if key.strip() == "extends":
        raise BadInput(f"--set {change!r}: a recipe extends another in its file alone; write one.")
    for part in path:
        if isinstance(at, list):
            at = _entry(at, part, change)
            continue
        if not isinstance(at.get(part), dict | list):
            at[part] = {}
        at = at[part]
    if isinstance(at, list):
        _entry(at, last, change)
        at[int(last)] = value
    else:
        at[last] = value


def _entry(entries: list[Any], part: str, change: str) -> Any:
    if not part.isdigit() or int(part) >= len(entries):
        raise BadInput(f"--set {change!r}: {part!r} is none of entries 0 to {len(entries) - 1}.")
    return entries[int(part)]
