"""Helpfulness without an annotator: what a reward model, or a program, says of the same responses.

Both write one value for each response into the store's ``outcomes``; their means are columns of
their own and never the Alpaca column. A program says whether a response meets its instruction's
checkable constraint: ``data/mini/README.md`` describes the kinds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bfpo_bench.common.errors import BadInput, RunFailed, unknown_name
from bfpo_bench.common.progress import Progress
from bfpo_bench.engines.open import answering
from bfpo_bench.engines.options import Loading
from bfpo_bench.engines.plan import Order
from bfpo_bench.helpfulness.annotation import TASK
from bfpo_bench.helpfulness.metrics import CONSTRAINT_MET, MeanMetric, mean_metric
from bfpo_bench.models.clock import DATE
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.run_json import read_run
from bfpo_bench.run.store import OutcomeRecord, ResponseRecord, Store, source_row


def mean_reward(
    run: Path,
    model: str,
    objective: str | None = None,
    revision: str | None = None,
    loading: Loading | None = None,
    progress: Progress | None = None,
) -> MeanMetric:
    """Mean reward of a run's responses to AlpacaEval's instructions.

    Rewards are stored as they come; the same call goes on where an earlier one stopped.

    Args:
        model: a sequence classifier, folder or hub id.
        objective: which of its outputs; not needed where it has one.
        loading: its number format, device and copies.

    Raises:
        BadInput: no such run, model or objective, a run without such responses, or copies that
            cannot be had.
        RunFailed: a reward is not finite, or no copy of the model is left.
    """
    from bfpo_bench.engines.reward_model import find_reward_model, load_reward_model
    from bfpo_bench.models.fingerprint import checkpoint_digest
    from bfpo_bench.models.number_format import choose_format

    progress, loading = progress or Progress(show=False), loading or Loading()
    loading.check_copies()
    content = read_run(run)
    found = find_reward_model(model, revision)
    column = found.column(objective)
    digest = checkpoint_digest(found.files)[:8]
    chosen = choose_format(found.files, loading.dtype, loading.device, loading.data_parallel_size)
    # Rewards of two number formats never stand under one name.
    digest += "" if chosen.dtype == found.files.dtype else f"-{chosen.dtype}"
    metric = f"reward:{found.files.name}@{digest}:{found.objectives[column]}"
    with RunDirectory(run, content["identity"]) as directory, directory.open_store() as store:
        responses = _responses(run, store)
        rated = store.outcomes(TASK, metric)
        known = {number for number, one in enumerate(responses) if one.item in rated}
        if len(known) < len(responses):
            load = partial(load_reward_model, found, chosen.dtype, DATE)
            prompts = [(("user", one.question),) for one in responses]
            order = Order("rewards", (prompts, [one.response for one in responses]), len(prompts))
            if chosen.note:
                progress.say(f"Reward model {found.files.name}: {chosen.note}.")
            with ExitStack() as stack:
                with progress.stage(f"loading reward model {found.files.name}"):
                    answers = stack.enter_context(answering(load, loading.place(found.files)))
                with progress.stage("rate", len(responses), len(known), "responses"):
                    for batch in answers([order], known):
                        fresh = {n: float(row[column]) for n, row in batch if n not in known}
                        _store(store, metric, [responses[n] for n in fresh], [*fresh.values()])
                        progress.advance(len(fresh))
        return mean_metric(metric, store.outcomes(TASK, metric))


def constraints_met(run: Path) -> MeanMetric:
    """Share of the mini suite's instructions whose checkable constraint is met, from 0 to 1.

    Raises:
        BadInput: no such run, or its instructions have no constraints.
    """
    content = read_run(run)
    with RunDirectory(run, content["identity"]) as directory, directory.open_store() as store:
        responses = _responses(run, store)
        rows = {item.item: source_row(item) for item in store.items(TASK)}
        if not all(isinstance(_constraint(rows.get(one.item)), dict) for one in responses):
            raise BadInput(
                f"the instructions of {run} have no checkable constraints; those of --suite mini "
                "have."
            )
        met = [float(meets(_constraint(rows[one.item]), one.response)) for one in responses]
        _store(store, CONSTRAINT_MET, responses, met)
        return mean_metric(CONSTRAINT_MET, store.outcomes(TASK, CONSTRAINT_MET))


def _responses(run: Path, store: Store) -> list[ResponseRecord]:
    responses = store.responses(TASK)
    if not responses:
        raise BadInput(
            f"nothing to rate: {run} holds no responses to AlpacaEval's instructions; evaluate "
            "with --tasks alpaca, or import them first."
        )
    return responses


def _constraint(row: Any) -> Any:
    return row.get("constraint") if isinstance(row, dict) else None


def _store(
    store: Store, metric: str, responses: Sequence[ResponseRecord], values: Sequence[float]
) -> None:
    for one, value in zip(responses, values, strict=True):
        if not np.isfinite(value):
            raise RunFailed(
                f"the {metric} of the response {one.response[:60]!r} is {value}, not a number; "
                "its model is damaged or overflows in its number format."
            )
    store.add_outcomes(
        OutcomeRecord(TASK, one.item, metric, value)
        for one, value in zip(responses, values, strict=True)
    )


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


def meets(constraint: Mapping[str, Any], response: str) -> bool:
    """Whether a response meets a constraint such as ``{"kind": "max_words", "value": 12}``.

    White space around a response is cut off first, a word is what stands between white space, and
    an empty response meets no constraint.

    Raises:
        BadInput: there is no such kind, or it lacks its parameter.
    """
    kind = str(constraint.get("kind"))
    if kind not in CHECKS:
        raise unknown_name("kind of constraint", kind, CHECKS)
    parameters = {name: value for name, value in constraint.items() if name != "kind"}
    text = response.strip()
    try:
        return bool(text) and CHECKS[kind](text, **parameters)
    except TypeError:
        raise BadInput(
            f"the constraint {json.dumps(dict(constraint))} has not the parameters of its kind; "
            "see data/mini/README.md."
        ) from None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refused), dict | list)
    except (ValueError, RecursionError):
        return False


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


CHECKS: dict[str, Callable[..., bool]] = {
    "max_words": lambda text, value: len(text.split()) <= value,
    "min_words": lambda text, value: len(text.split()) >= value,
    "contains": lambda answer, *, text: text.casefold() in answer.casefold(),
    "not_contains": lambda answer, text: text.casefold() not in answer.casefold(),
    "starts_with": lambda answer, text: answer.startswith(text),
    "ends_with": lambda answer, text: answer.endswith(text),
    "line_count": lambda text, value: sum(map(bool, map(str.strip, text.splitlines()))) == value,
    "all_lowercase": lambda text: text == text.lower() and text != text.upper(),
    "all_uppercase": lambda text: text == text.upper() and text != text.lower(),
    "is_json": _is_json,
    "is_number": lambda text, value: (
        _NUMBER.fullmatch(text) is not None and len(text) < 100 and float(text) == value
    ),
}
"""What a kind asks of a response that is not empty, by name."""
