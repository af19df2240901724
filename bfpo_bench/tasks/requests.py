"""From a suite to the texts a model is given: the items of each task, rendered.

lm-eval's own task objects read the rows, write the prompts and score the answers; here they are
asked item by item, so that an item keeps one name from the source to the table.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bfpo_bench.common.lazy import LazySequence
from bfpo_bench.engines.protocol import GenerateRequest, ScoreRequest
from bfpo_bench.models.chat import Chat
from bfpo_bench.models.messages import read_messages, write_messages
from bfpo_bench.suites import TASKS_FOLDER
from bfpo_bench.tasks.rows import document
from bfpo_bench.tasks.task_data import DataOptions, TaskData


@dataclass(frozen=True)
class Item:
    """One item: its row in the source's form, and the document lm-eval makes of it."""

    id: str
    position: int
    row: dict[str, Any]
    doc: dict[str, Any]


class Asked(Protocol):
    """What a model is asked: a task of a suite, or the prompts of a red teaming."""

    @property
    def name(self) -> str: ...

    @property
    def scores(self) -> Sequence[ScoreRequest]: ...

    @property
    def prompts(self) -> Sequence[GenerateRequest]: ...

    @property
    def questions(self) -> Sequence[str]: ...

    def item_id(self, index: int) -> str:
        """Id of the item that a prompt belongs to."""
        ...


@dataclass(frozen=True)
class PlannedTask:
    """A task ready to run.

    What grows with the number of prompts is written as it is read, see :class:`LazySequence`.

    Attributes:
        scores: requests of a scored task, item after item; ``choices[i]`` of them belong to item i.
        prompts: requests of a judged or annotated task, one per item.
        questions: what a judge is shown as the prompt of each item (no chat template around it).
    """

    data: TaskData
    lm_eval_task: Any
    items: Sequence[Item]
    scores: list[ScoreRequest]
    choices: list[int]
    prompts: Sequence[GenerateRequest]
    questions: Sequence[str]

    @property
    def name(self) -> str:
        """Name of the task's YAML."""
        return self.data.spec.task

    @property
    def judged(self) -> bool:
        """Whether a judge decides on the responses."""
        return self.data.spec.metric == "harmless"

    @property
    def annotated(self) -> bool:
        """Whether an annotator compares the responses with reference outputs."""
        return self.data.spec.metric == "win_rate"

    def item_id(self, index: int) -> str:
        """Id of an item; writes no prompt for it."""
        return self.data.ids[self.data.positions[index]]


def request_seed(seed: int, task: str, item: str) -> int:
    """The seed of one item's response: 63 bits from the run's seed, the task and the item."""
    digest = hashlib.sha256(f"{seed}\0{task}\0{item}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def render(
    data: Sequence[TaskData],
    options: DataOptions,
    chat: Callable[..., str] | None,
    system_prompt: str | None = None,
    seed: int = 0,
    thought_tokens: int = 0,
) -> list[PlannedTask]:
    """Makes the tasks ready: writes the requests to score, and prompts as they are asked for.

    Args:
        chat: renders messages with the model's chat template; None when it has none.
        system_prompt: goes before the user's turn in tasks with a chat template, and nowhere else.
        thought_tokens: room of a thought in those tasks, beyond that of the answer.

    Raises:
        BadInput: the chat template refuses the messages.
    """
    tasks = _lm_eval_tasks([d.spec.task for d in data], options)
    return [
        _Writer(d, tasks[d.spec.task], chat, system_prompt, seed, thought_tokens).planned()
        for d in data
    ]


def _lm_eval_tasks(names: list[str], options: DataOptions) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    metadata = {
        "data_dir": str(options.data_dir) if options.data_dir else None,
        "variants": options.variants,
        "mini": options.mini,
        "allow_unpinned": options.allow_unpinned,
        "first_only": True,
    }
    # lm-eval warns once per task that a custom data set takes metadata: it was given some. The
    # tasks tell lm-eval's users how their data is marked: our results say so themselves.
    with errors_only("lm_eval", "bfpo_bench.tasks"):
        manager = TaskManager(
            include_path=str(TASKS_FOLDER), include_defaults=False, metadata=metadata
        )
        tasks: dict[str, Any] = manager.load(names)["tasks"]
    return tasks


@contextmanager
def errors_only(*loggers: str) -> Iterator[None]:
    """Lets these loggers say nothing below an error while the body runs."""
    before = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


class _Writer:
    """Writes the requests of one task from lm-eval's documents."""

    def __init__(
        self,
        data: TaskData,
        task: Any,
        chat: Callable[..., str] | None,
        system_prompt: str | None,
        seed: int,
        thought_tokens: int,
    ) -> None:
        self.data = data
        self.task = task
        self.seed = seed
        self.chat = chat if data.spec.chat_template else None
        self.system_prompt = system_prompt if data.spec.chat_template else None
        self.thought_tokens = thought_tokens if data.spec.chat_template else 0

    def planned(self) -> PlannedTask:
        scores: list[ScoreRequest] = []
        choices: list[int] = []
        count = len(self.data.positions)
        items = LazySequence(count, self._items)
        if self.data.spec.generation is None:
            for group, item in enumerate(items):
                pairs = [r.args for r in self._requests(item.doc, item.position)]
                scores.extend(ScoreRequest(text, more, group) for text, more in pairs)
                choices.append(len(pairs))
            return PlannedTask(self.data, self.task, items, scores, choices, (), ())
        prompts, questions = (
            LazySequence(count, self._prompts),
            LazySequence(count, self._questions),
        )
        # A chat template that refuses a prompt, or leaves part of it out, shall do so before a
        # model is loaded.
        for _ in prompts if isinstance(self.chat, Chat) else prompts[:1]:
            pass
        return PlannedTask(self.data, self.task, items, scores, choices, prompts, questions)

    def _items(self, window: range) -> list[Item]:
        positions = self.data.positions[window.start : window.stop]
        ids, rows = self.data.ids, self.data.loaded.rows
        return [
            Item(ids[position], position, rows[position], doc)
            for position, doc in zip(positions, self._docs(window), strict=True)
        ]

    def _prompts(self, window: range) -> list[GenerateRequest]:
        sampling = self.data.spec.generation
        assert sampling is not None
        found = []
        positions = self.data.positions[window.start : window.stop]
        for position, doc in zip(positions, self._docs(window), strict=True):
            text = self._requests(doc, position).args[0]
            # Where a server applies the chat template, the "prompt" is the messages themselves.
            messages = read_messages(text) if self.chat is write_messages else None
            own_seed = request_seed(self.seed, self.data.spec.task, self.data.ids[position])
            bare = self.chat is None
            request = GenerateRequest(text, sampling, own_seed, messages, special_tokens=bare)
            found.append(replace(request, thought_tokens=self.thought_tokens))
        return found

    def _questions(self, window: range) -> list[str]:
        return [self.task.doc_to_text(doc) for doc in self._docs(window)]

    def _docs(self, window: range) -> Iterator[dict[str, Any]]:
        """What lm-eval would read from its data set, made of the source's rows."""
        ids, rows = self.data.ids, self.data.loaded.rows
        for position in self.data.positions[window.start : window.stop]:
            yield document(rows[position], ids[position])

    def _requests(self, doc: dict[str, Any], position: int) -> Any:
        """What lm-eval asks of an item: one request of a judged task, several of a scored one."""
        with_chat = self.chat is not None
        context = self.task.fewshot_context(
            doc,
            num_fewshot=0,
            system_instruction=self.system_prompt,
            apply_chat_template=with_chat,
            chat_template=self.chat,
        )
        return self.task.construct_requests(
            doc,
            context,
            metadata=(self.data.spec.task, position, 1),
            apply_chat_template=with_chat,
            chat_template=self.chat,
        )
