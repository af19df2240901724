"""From a suite to what a model is asked: a :class:`Task` has its rows, and then its requests.

lm-eval's own task objects write the prompts and score the answers; here they are asked item by
item, so that an item keeps one name from the source to the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.lazy import LazySequence
from bfpo_bench.common.loggers import errors_only
from bfpo_bench.data import Loaded, Row, Source, find_data_dir, load_source, one_failure_is_enough
from bfpo_bench.engines.protocol import GenerateRequest, ScoreRequest
from bfpo_bench.models.chat import Chat, read_messages, write_messages
from bfpo_bench.suites import TASKS_FOLDER, Suite, SuiteTask
from bfpo_bench.tasks.catalog import source_of
from bfpo_bench.tasks.rows import document


class Asked(Protocol):
    """What a model is asked: a task of a suite, or the prompts of a red teaming."""

    @property
    def name(self) -> str: ...

    @property
    def scores(self) -> Sequence[ScoreRequest]: ...

    @property
    def choices(self) -> Sequence[int]: ...

    @property
    def prompts(self) -> Sequence[GenerateRequest]: ...

    @property
    def questions(self) -> Sequence[str]: ...

    def item_id(self, index: int) -> str:
        """Id of the item that a prompt belongs to."""
        ...


@dataclass(frozen=True)
class Task:
    """One task of a run: what it is, its rows, and what a model is asked.

    The requests are there once :func:`render` wrote them. What grows with the number of prompts is
    written as it is read, see :class:`LazySequence`.

    Attributes:
        positions: chosen rows (``--limit``), ascending: the task's items.
        ids: item ids of *all* rows.
        lm_eval_task: lm-eval's object, which knows the task's rules.
        scores: requests of a scored task, item after item; ``choices[i]`` of them belong to item i.
        prompts: requests of a judged or annotated task, one per item.
        questions: what a judge is shown as the prompt of each item (no chat template around it).
    """

    spec: SuiteTask
    loaded: Loaded
    ids: list[str]
    positions: list[int]
    lm_eval_task: Any = None
    scores: Sequence[ScoreRequest] = ()
    choices: Sequence[int] = ()
    prompts: Sequence[GenerateRequest] = ()
    questions: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Name of the task's YAML."""
        return self.spec.task

    @property
    def judged(self) -> bool:
        """Whether a judge decides on the responses."""
        return self.spec.judged

    @property
    def annotated(self) -> bool:
        """Whether an annotator compares the responses with reference outputs."""
        return self.spec.metric == "win_rate"

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.positions)

    def items(self, window: range | None = None) -> Iterator[tuple[str, int, Row]]:
        """Id, position and row of the items, or of those in a range of them."""
        chosen = self.positions if window is None else self.positions[window.start : window.stop]
        for position in chosen:
            yield self.ids[position], position, self.loaded.rows[position]

    def item_id(self, index: int) -> str:
        """Id of an item; writes no prompt for it."""
        return self.ids[self.positions[index]]


class DataProblems(BadInput):
    """Data that cannot be had as asked for, of all tasks at once; a line for each problem.

    Attributes:
        problems: task → what is wrong with its source.
    """

    def __init__(self, problems: Mapping[SuiteTask, BadInput]) -> None:
        super().__init__(*dict.fromkeys(map(str, problems.values())))
        self.problems = problems


def load_tasks(
    suite: Suite,
    data_dir: Path | None = None,
    variants: Mapping[str, str] | None = None,
    allow_unpinned: bool = False,
    limit: int | None = None,
    seed: int = 0,
) -> list[Task]:
    """Loads the rows of every task and chooses the items of a limited run.

    Raises:
        BadInput: there is no such data folder, or no such source.
        DataProblems: sources cannot be had or are not what they should be (a kind of BadInput).
    """
    mini = suite.data == "mini"
    folder = None if mini else find_data_dir(data_dir)
    rows: dict[SuiteTask, tuple[Source, Loaded]] = {}
    problems: dict[SuiteTask, BadInput] = {}
    with one_failure_is_enough():
        for spec in suite.everything:
            source = source_of(spec)
            try:
                loaded = load_source(
                    source,
                    data_dir=folder,
                    variant=(variants or {}).get(source.name),
                    mini=mini,
                    allow_unpinned=allow_unpinned,
                )
            except BadInput as error:
                problems[spec] = error
            else:
                rows[spec] = source, loaded
    if problems:
        raise DataProblems(problems)
    found = []
    for spec, (source, loaded) in rows.items():
        ids = source.ids(loaded.rows)
        positions = drawn_positions(spec.task, ids, limit, seed)
        found.append(Task(spec, loaded, ids, positions))
    return found


def drawn_positions(task: str, ids: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Positions of the items that a limited run asks, ascending; of all without a limit.

    Drawn at random: those whose hashes with the seed are smallest, so that the choice depends on
    the seed and the items alone, not on their order.
    """
    found: Sequence[int] = range(len(ids))
    if limit is not None and limit < len(ids):

        def rank(position: int) -> bytes:
            return hashlib.sha256(f"{seed}\0{task}\0{ids[position]}".encode()).digest()

        found = sorted(sorted(found, key=rank)[:limit])
    return list(found)


def render(
    tasks: Sequence[Task],
    chat: Callable[..., str] | None,
    system_prompt: str | None = None,
    seed: int = 0,
    thought_tokens: int = 0,
) -> list[Task]:
    """The tasks with their requests: those to score written, prompts as they are asked for.

    Args:
        chat: renders messages with the model's chat template; None when it has none.
        system_prompt: goes before the user's turn in tasks with a chat template, and nowhere else.
        thought_tokens: room of a thought in those tasks, beyond that of the answer.

    Raises:
        BadInput: the chat template refuses the messages.
    """
    found = []
    for task, own in zip(tasks, _lm_eval_tasks(tasks), strict=True):
        ready = replace(task, lm_eval_task=own)
        if task.spec.chat_template:
            writer = _Writer(ready, chat, system_prompt, seed, thought_tokens)
        else:
            writer = _Writer(ready, None, None, seed, 0)
        found.append(writer.with_scores() if task.spec.generation is None else writer.asked())
    return found


def request_seed(seed: int, task: str, item: str) -> int:
    """The seed of one item's response: 63 bits from the run's seed, the task and the item."""
    digest = hashlib.sha256(f"{seed}\0{task}\0{item}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _lm_eval_tasks(tasks: Sequence[Task]) -> list[Any]:
    from lm_eval.tasks import TaskManager

    # A task object wants a row when it is built. The documents are made here, of the rows at hand.
    firsts = {t.loaded.source: document(t.loaded.rows[0], t.ids[0]) for t in tasks}
    # lm-eval warns once per task that a custom data set takes metadata: it was given some.
    with errors_only("lm_eval"):
        manager = TaskManager(
            include_path=str(TASKS_FOLDER),
            include_defaults=False,
            metadata={"documents": firsts},
        )
        found = manager.load([t.name if t.spec.packaged else str(t.spec.file) for t in tasks])[
            "tasks"
        ]
    return [found[task.name] for task in tasks]


@dataclass(frozen=True)
class _Writer:
    """Writes the requests of one task from lm-eval's documents."""

    task: Task
    chat: Callable[..., str] | None
    system_prompt: str | None
    seed: int
    thought_tokens: int

    def with_scores(self) -> Task:
        scores: list[ScoreRequest] = []
        choices: list[int] = []
        for group, (item, position, row) in enumerate(self.task.items()):
            pairs = [r.args for r in self._requests(document(row, item), position)]
            scores.extend(ScoreRequest(text, more, group) for text, more in pairs)
            choices.append(len(pairs))
        return replace(self.task, scores=scores, choices=choices)

    def asked(self) -> Task:
        prompts = LazySequence(self.task.size, self._prompts)
        # A chat template that refuses a prompt, or leaves part of it out, shall do so before a
        # model is loaded.
        for _ in prompts if isinstance(self.chat, Chat) else prompts[:1]:
            pass
        return replace(
            self.task, prompts=prompts, questions=LazySequence(self.task.size, self._questions)
        )

    def _prompts(self, window: range) -> list[GenerateRequest]:
        sampling = self.task.spec.generation
        assert sampling is not None
        found = []
        for item, position, row in self.task.items(window):
            text = self._requests(document(row, item), position).args[0]
            # Where a server applies the chat template, the "prompt" is the messages themselves.
            messages = read_messages(text) if self.chat is write_messages else None
            own_seed = request_seed(self.seed, self.task.name, item)
            request = GenerateRequest(
                *(text, sampling, own_seed, messages),
                thought_tokens=self.thought_tokens,
                special_tokens=self.chat is None,
            )
            found.append(request)
        return found

    def _questions(self, window: range) -> list[str]:
        write = self.task.lm_eval_task.doc_to_text
        return [write(document(row, item)) for item, _, row in self.task.items(window)]

    def _requests(self, doc: dict[str, Any], position: int) -> Any:
        """What lm-eval asks of an item: one request of a judged task, several of a scored one."""
        own, with_chat = self.task.lm_eval_task, self.chat is not None
        context = own.fewshot_context(
            doc,
            num_fewshot=0,
            system_instruction=self.system_prompt if with_chat else None,
            apply_chat_template=with_chat,
            chat_template=self.chat,
        )
        if not with_chat and self.system_prompt is not None:
            context = self._after_system_prompt(context)
        return own.construct_requests(
            doc,
            context,
            metadata=(self.task.name, position, 1),
            apply_chat_template=with_chat,
            chat_template=self.chat,
        )

    def _after_system_prompt(self, context: str | list[str]) -> str | list[str]:
        """A plain prompt, or one for each choice, with the system prompt before it.

        lm-eval itself writes the two without anything between them. Here they are joined as it
        joins a system prompt and a task's description, so that who has written the blank line that
        it needs is asked the same by both.
        """
        from lm_eval.api.utils import maybe_delimit

        between = self.task.lm_eval_task.config.fewshot_delimiter
        if isinstance(context, list):
            return [maybe_delimit(self.system_prompt, text, between) for text in context]
        return str(maybe_delimit(self.system_prompt, context, between))
