"""A task of lm-eval's as a run asks it: its documents as items, and the requests made of them."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bfpo_bench.also.find import FEWSHOT_SEED, lm_eval_seeds
from bfpo_bench.common.errors import BadInput, first_line
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.data.source import named_by_content
from bfpo_bench.engines.protocol import GenerateRequest, ScoreRequest
from bfpo_bench.models.chat import read_messages, write_messages
from bfpo_bench.tasks.requests import drawn_positions, request_seed

_KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}
_PLACES = ("dataset_path", "dataset_name", "dataset_kwargs")
"""Where data lie is no part of what a task is: the data themselves are."""


@dataclass(frozen=True)
class AlsoTask:
    """One task of lm-eval's in a run.

    The requests are there once :func:`written` made them.

    Attributes:
        own: lm-eval's object, which writes the requests and grades the answers.
        docs: all documents of the task's test (or else validation) split.
        ids: an id of each, made from its content.
        positions: the documents that are asked, ascending (``--limit`` draws).
        chat: whether requests go through the chat template.
        scores, choices: as in :class:`bfpo_bench.tasks.requests.Task`.
        prompts: of a generated task; ``repeats`` of each document's, one after the other.
        names: under which name the answer to each prompt is kept.
    """

    name: str
    own: Any
    docs: Sequence[Any]
    ids: list[str]
    positions: list[int]
    chat: bool
    scores: Sequence[ScoreRequest] = ()
    choices: Sequence[int] = ()
    prompts: Sequence[GenerateRequest] = ()
    names: Sequence[str] = ()

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.positions)

    @cached_property
    def questions(self) -> Sequence[str]:
        """What is kept as the question of each prompt: the prompt, for nobody judges it."""
        return [request.prompt for request in self.prompts]

    @property
    def where(self) -> str:
        """Where its data came from, in words."""
        parts = (self.own.DATASET_PATH, self.own.DATASET_NAME)
        return " ".join(str(part) for part in parts if part) or "its own function"

    @property
    def examples(self) -> int:
        """Examples that stand before each question."""
        return int(self.own.get_config("num_fewshot") or 0)

    def item_id(self, index: int) -> str:
        """Id of an item, or name of the answer to a prompt."""
        return self.names[index] if self.prompts else self.ids[self.positions[index]]

    def items(self) -> Iterator[tuple[str, int, Any]]:
        """Id, position and document of the items."""
        for position in self.positions:
            yield self.ids[position], position, self.docs[position]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All of the task that its answers depend on, as JSON.

        The functions that a YAML names stand for themselves with the whole file they are in.
        """
        shots = list(getattr(getattr(self.own, "sampler", None), "df", ())) if self.examples else ()
        return {
            "version": self.own.VERSION,
            "config": _digest([json.dumps(_plain(_config(self.own)), sort_keys=True, default=str)]),
            "examples": self.examples,
            "chat_template": self.chat,
            "data": _digest([*map(_line, self.docs), *map(_line, shots)]),
        }


def take(own: Any, limit: int | None, seed: int, chat: bool) -> AlsoTask:
    """A task with its documents; those that a limit draws are chosen as a suite's are.

    Raises:
        BadInput: it has no documents, or they cannot be read.
    """
    name = str(own.task_name)
    try:
        with errors_only("lm_eval", "datasets"), lm_eval_seeds():
            docs = list(own.eval_docs)
    except Exception as error:
        raise BadInput(
            f"--also {name}: lm-eval cannot read its documents ({first_line(error)}); leave it out."
        ) from error
    if not docs:
        raise BadInput(f"--also {name}: it has no documents; leave it out.")
    ids = named_by_content(_line(doc).encode() for doc in docs)
    return AlsoTask(name, own, docs, ids, drawn_positions(name, ids, limit, seed), chat)


def written(
    task: AlsoTask,
    chat: Callable[..., str] | None,
    system_prompt: str | None,
    seed: int,
    thought_tokens: int = 0,
) -> AlsoTask:
    """The task with its requests, as lm-eval's evaluator would have them made.

    Args:
        chat: writes messages as the model wants them; not called where ``task.chat`` is False.
        thought_tokens: room of a thought beside that of the answer, in chat tasks.

    Raises:
        BadInput: the task asks for what no engine here can do.
    """
    own, limited = task.own, task.size < len(task.docs)
    if task.chat and chat is None:
        raise BadInput(
            "--apply-chat-template, and the model has no chat template or --chat-template never "
            "was said; leave one of the two out."
        )
    # lm-eval shows a progress bar on the standard error stream.
    with errors_only("lm_eval"), redirect_stderr(io.StringIO()), lm_eval_seeds():
        own.set_fewshot_seed(FEWSHOT_SEED)
        try:
            own.build_all_requests(
                samples=frozenset(task.positions) if limited else None,
                system_instruction=system_prompt if task.chat else None,
                apply_chat_template=task.chat,
                fewshot_as_multiturn=task.chat,
                chat_template=_continuing(chat) if task.chat and chat else None,
            )
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"--also {task.name}: lm-eval cannot write its requests "
                f"({type(error).__name__}: {first_line(error)}); mend the task or leave it out."
            ) from error
    kinds = {instance.request_type for instance in own.instances}
    if len(kinds) > 1:
        raise BadInput(
            f"--also {task.name} asks for {' and '.join(sorted(kinds))} of one document, which "
            "only lm-eval itself can; leave it out."
        )
    if kinds == {"generate_until"}:
        return _with_prompts(task, chat, seed, thought_tokens if task.chat else 0)
    if task.chat and chat is write_messages:
        raise BadInput(
            f"--also {task.name} is scored, and a server that writes the chat template itself "
            "scores no part of it; leave --apply-chat-template out, or give --chat-template FILE."
        )
    return _with_scores(task)


def group_identity(group: Any) -> dict[str, Any]:
    """What a group's own figures depend on, beside its tasks."""
    return {"group": _digest([json.dumps(_plain(group.to_dict()), sort_keys=True, default=str)])}


def _with_scores(task: AlsoTask) -> AlsoTask:
    scores: list[ScoreRequest] = []
    choices = [0] * task.size
    for instance in task.own.instances:
        rolling = instance.request_type == "loglikelihood_rolling"
        context, more = ("", *instance.args) if rolling else instance.args[:2]
        scores.append(ScoreRequest(context, more, instance.doc_id, rolling))
        choices[instance.doc_id] += 1
    return replace(task, scores=scores, choices=choices)


def _with_prompts(
    task: AlsoTask, chat: Callable[..., str] | None, seed: int, thought_tokens: int
) -> AlsoTask:
    prompts: list[GenerateRequest] = []
    names: list[str] = []
    counts: dict[str, int] = {}
    for instance in task.own.instances:
        text, settings = instance.args[:2]
        sampling = _sampling(task.name, settings)
        for _ in range(instance.repeats or 1):
            item = task.ids[task.positions[instance.doc_id]]
            counts[item] = counts.get(item, 0) + 1
            name = item if counts[item] == 1 else f"{item}#{counts[item]}"
            names.append(name)
            prompts.append(
                GenerateRequest(
                    *(text, sampling, request_seed(seed, task.name, name)),
                    read_messages(text) if task.chat and chat is write_messages else None,
                    thought_tokens=thought_tokens,
                    special_tokens=not task.chat,
                )
            )
    return replace(task, prompts=prompts, names=names)


def _sampling(task: str, settings: Mapping[str, Any]) -> Sampling:
    """lm-eval's settings of generation as ours.

    Raises:
        BadInput: one that the engines here do not know.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    given = dict(normalize_gen_kwargs(dict(settings)))
    # One that changes nothing may stand there.
    idle = {"num_beams": 1, "top_k": None, "repetition_penalty": 1.0, "num_return_sequences": 1}
    unknown = [
        name
        for name, value in given.items()
        if name not in _KNOWN_SETTINGS and not (name in idle and value in (idle[name], None))
    ]
    if unknown:
        raise BadInput(
            f"--also {task} generates with {unknown[0]} {given[unknown[0]]!r}, which the engines "
            "here do not know; leave it out, or ask lm-eval itself (python -m bfpo_bench.lm_eval)."
        )
    drawn = bool(given.get("do_sample"))
    stop = tuple(str(text) for text in given["until"] if text)
    temperature = float(given.get("temperature") or 0.0) if drawn else 0.0
    top_p = float(given.get("top_p") or 1.0) if drawn else 1.0
    return Sampling(int(given["max_gen_toks"]), temperature, top_p, stop)


def _continuing(chat: Callable[..., str]) -> Callable[..., str]:
    """A chat template that lets an answer which was begun stay open, as lm-eval asks for."""

    def write(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        if add_generation_prompt:
            return chat(messages)
        *before, begun = messages
        return chat(before) + begun["content"]

    return write


def _config(own: Any) -> Any:
    if type(own).__name__ == "ConfigurableTask":
        return vars(own.config)
    # A task that is a Python class is its code.
    return {"class": type(own), **dict(own.dump_config())}


def _plain(value: Any) -> Any:
    """A task's configuration as JSON that is the same on every machine."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {
            str(name): _plain(part)
            for name, part in value.items()
            if part is not None and name not in (*_PLACES, "config_source")
        }
    if isinstance(value, (list, tuple, set)):
        return [_plain(part) for part in value]
    if callable(value):
        return _of_code(value)
    return value


def _of_code(value: Any) -> dict[str, str]:
    function = getattr(value, "func", value)
    try:
        text = Path(inspect.getfile(function)).read_bytes()
    except (TypeError, OSError):
        text = b""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return {"function": name, "file": hashlib.sha256(text).hexdigest()[:16]}


def _line(doc: Any) -> str:
    try:
        return json.dumps(doc, sort_keys=True, default=str)
    except TypeError:
        return str(doc)


def _digest(lines: Sequence[str]) -> str:
    sha = hashlib.sha256()
    for line in lines:
        sha.update(line.encode() + b"\n")
    return sha.hexdigest()[:32]
