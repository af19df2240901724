"""Two identities compared: what a run was of, and what is asked for now.

Version 0.1 (schema 1) kept less of a model and a judge than is kept now, and hashed some of it
otherwise. What only one of the two has kept cannot be compared, and is no difference by itself.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator

GROWING = ("tasks", "data", "also")
"""Parts of the identity to which a later command may add entries; shared entries must agree.
The last, lm-eval's own tasks, is there only where some were asked."""


def grown(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The growing parts of an identity with what is new in another one."""
    return {
        part: {**before.get(part, {}), **now.get(part, {})}
        for part in GROWING
        if part in before or part in now
    }


def _naming(key: str) -> AfterValidator:
    def check(part: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(part.get(key), str):
            raise ValueError(f"{key!r} must be a text, not {_brief(part.get(key))}")
        return part

    return AfterValidator(check)


Model = Annotated[dict[str, Any], _naming("name")]
Suite = Annotated[dict[str, Any], _naming("name")]
Judge = Annotated[dict[str, Any], _naming("judge")]
"""Parts of an identity; each has more keys than the one by which it is called in tables."""


def with_more_suites(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """An identity under the suites of another one, if its own are among them.

    A run of ``paper`` goes on as one of ``paper+balance``: answers depend on their tasks alone.
    """
    suites = [_suites(one.get("suite") or {}) for one in (before, now)]
    return {**before, "suite": now["suite"]} if suites[0] < suites[1] else before


def _suites(found: dict[str, Any]) -> set[tuple[str, str]]:
    """Names and versions of the suites that one is joined of."""
    name, version = str(found.get("name")), str(found.get("version"))
    if name.count("+") != version.count("+"):
        return {(name, version)}
    return set(zip(name.split("+"), version.split("+"), strict=True))


def joined(
    before: dict[str, Any], now: dict[str, Any]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The identity of a run that is gone on with, from the stored one and what is asked for now.

    One of version 0.1 stays as it is: its answers are stored under it. A judge by rules whose code
    has changed takes the place of what it was.

    Returns:
        both in one; what differs, so that they cannot be; judges whose verdicts are outdated.
    """
    outdated = []
    for part in ("judge", "refusal_judge"):
        # A command that asked for scored tasks only named no judge; the next one may.
        judge = before.get(part) or now.get(part)
        if name := superseded(before.get(part), now.get(part)):
            outdated.append(name)
            judge = now[part]
            before = {**before, part: judge}
        if judge is not None or part == "judge":
            before = {**before, part: before.get(part) or judge}
            now = {**now, part: now.get(part) or judge}
    before = with_more_suites(before, now)
    earlier = is_earlier(before)
    compared = nameless(before), nameless(now)
    different = differences(*(shared_parts(*compared) if earlier else compared))
    if earlier and "precision" in now:  # which is not kept where none is asked for
        different += differences({}, {"precision": now["precision"]})
    # The same model under another name keeps the one that its answers are known by.
    known = {"model": before["model"]} if "model" in before else {}
    return {**(before if earlier else now), **known, **grown(before, now)}, different, outdated


def differences(before: dict[str, Any], now: dict[str, Any], at: str = "") -> list[str]:
    """What differs between two identities, one phrase each (``seed: 1 there, 2 asked for``).

    At the top level, entries of the growing parts that only one side has are no difference.
    """
    found = []
    for name in dict.fromkeys([*before, *now]):
        where = f"{at}.{name}" if at else name
        old, new = before.get(name), now.get(name)
        if name in GROWING and not at:
            old, new = old or {}, new or {}
        if isinstance(old, dict) and isinstance(new, dict):
            if name in GROWING and not at:
                shared = old.keys() & new.keys()
                old = {k: old[k] for k in sorted(shared)}
                new = {k: new[k] for k in sorted(shared)}
            found += differences(old, new, where)
        elif old != new:
            found.append(f"{where}: {_brief(old)} there, {_brief(new)} asked for")
    return found


def is_earlier(identity: dict[str, Any]) -> bool:
    """Whether an identity of a run is one of version 0.1, which kept less."""
    return "tokenizer" in (identity.get("model") or {})


def superseded(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str | None:
    """Name of a judge by rules whose card is what it was, and whose code is newer or says more now.

    Its verdicts cost nothing, so they are given again.
    """
    if not before or not now or before.get("kind") != "keyword":
        return None
    versions = [int(judge.get("implementation", 1)) for judge in (before, now)]
    said = ("implementation", "gives", "refusal")
    more: dict[str, Any] = {name: now[name] for name in said if name in now}
    newer = versions[0] <= versions[1] and before != now and {**before, **more} == now
    return str(before["judge"]) if newer else None


def nameless(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity in which a model whose weights are known has no name: folders may be renamed."""
    model = identity.get("model")
    if not isinstance(model, dict) or "weights" not in model:
        return identity
    return {**identity, "model": {k: v for k, v in model.items() if k not in ("name", "revision")}}


def shared_parts(
    one: dict[str, Any], other: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two identities have both kept, ready to be compared.

    Parts that only one of them has are left out, at every depth, and of the ``weights`` that
    version 0.1 kept of a judge (``WEIGHTS-TOKENIZER``) the first half is taken.
    """
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name in one:
        if name not in other:
            continue
        pair = one[name], other[name]
        if all(isinstance(value, dict) for value in pair):
            pair = shared_parts(*pair)
        elif name == "weights" and all(isinstance(value, str) for value in pair):
            pair = pair[0].partition("-")[0], pair[1].partition("-")[0]
        found[0][name], found[1][name] = pair
    return found


def formatless(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity without number formats, which ``--dtype auto`` chooses by the machine."""
    return {
        name: formatless(value) if isinstance(value, dict) else value
        for name, value in identity.items()
        if name != "dtype"
    }


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
