"""From a suite to the texts a model is given: the items of each task, rendered.

lm-eval's own task objects read the rows, write the prompts and score the answers; here they are
asked item by item, so that an item keeps one name from the source to the table.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bfpo_bench import sources
from bfpo_bench.engines.messages import read_messages, write_messages
from bfpo_bench.engines.protocol import GenerateRequest, Sampling, ScoreRequest
from bfpo_bench.errors import BadInput
from bfpo_bench.sources import Loaded
from bfpo_bench.suite import TASKS_FOLDER, Suite, SuiteTask, task_declaration
from bfpo_bench.windowed import Windowed


@dataclass(frozen=True)
class DataOptions:
    """Where the rows come from; see :func:`bfpo_bench.sources.load`."""

    data_dir: Path | None = None
    variants: dict[str, str] = field(default_factory=dict)
    mini: bool = False
    allow_unpinned: bool = False


@dataclass(frozen=True)
class TaskData:
    """The rows of one task and the items of it that are wanted.

    Attributes:
        version: version of the task's YAML.
        positions: chosen rows (``--limit``), ascending.
        ids: item ids of *all* rows.
    """

    spec: SuiteTask
    version: int
    loaded: Loaded
    ids: list[str]
    positions: list[int]


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

    What grows with the number of prompts is written as it is read, see :class:`Windowed`.

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


def read_data(
    suite: Suite, options: DataOptions, limit: int | None = None, seed: int = 0
) -> list[TaskData]:
    """Loads the rows of every task and chooses the items of a limited run.

    ``limit`` draws that many items per task at random: the items whose hashes with the seed are
    smallest, so that the choice depends on the seed and the items alone, not on their order.

    Raises:
        BadInput: a source cannot be had or is not what it should be.
    """
    found = []
    for spec in suite.everything:
        declaration = task_declaration(spec.task)
        source = declaration["dataset_kwargs"]["source"]
        loaded = sources.load(
            source,
            data_dir=options.data_dir,
            variant=options.variants.get(source),
            mini=options.mini,
            allow_unpinned=options.allow_unpinned,
        )
        ids = sources.item_ids(source, loaded.rows)
        positions = list(range(len(ids)))
        if limit is not None and limit < len(ids):

            def rank(position: int, task: str = spec.task, ids: list[str] = ids) -> bytes:
                return hashlib.sha256(f"{seed}\0{task}\0{ids[position]}".encode()).digest()

            positions = sorted(sorted(positions, key=rank)[:limit])
        version = int(declaration["metadata"]["version"])
        found.append(TaskData(spec, version, loaded, ids, positions))
    return found


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
) -> list[PlannedTask]:
    """Makes the tasks ready: writes the requests to score, and prompts as they are asked for.

    Args:
        chat: renders messages with the model's chat template; None when it has none.
        system_prompt: goes before the user's turn in tasks with a chat template, and nowhere else.

    Raises:
        BadInput: the chat template refuses the messages.
    """
    tasks = _lm_eval_tasks([d.spec.task for d in data], options)
    return [_Writer(d, tasks[d.spec.task], chat, system_prompt, seed).planned() for d in data]


def _lm_eval_tasks(names: list[str], options: DataOptions) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    metadata = {
        "data_dir": str(options.data_dir) if options.data_dir else None,
        "variants": options.variants,
        "mini": options.mini,
        "allow_unpinned": options.allow_unpinned,
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
    ) -> None:
        self.data = data
        self.task = task
        self.seed = seed
        self.chat = chat if data.spec.chat_template else None
        self.system_prompt = system_prompt if data.spec.chat_template else None

    def planned(self) -> PlannedTask:
        scores: list[ScoreRequest] = []
        choices: list[int] = []
        count = len(self.data.positions)
        items = Windowed(count, self._items)
        if self.data.spec.generation is None:
            for group, item in enumerate(items):
                pairs = [r.args for r in self._requests(item.doc, item.position)]
                scores.extend(ScoreRequest(text, more, group) for text, more in pairs)
                choices.append(len(pairs))
            return PlannedTask(self.data, self.task, items, scores, choices, (), ())
        prompts, questions = Windowed(count, self._prompts), Windowed(count, self._questions)
        # A chat template that refuses the messages shall do so before a model is loaded.
        prompts[:1]
        return PlannedTask(self.data, self.task, items, scores, choices, prompts, questions)

    def _items(self, window: range) -> list[Item]:
        positions = self.data.positions[window.start : window.stop]
        ids, rows = self.data.ids, self.data.loaded.rows
        return [
            Item(ids[position], position, rows[position], doc)
            for position, doc in zip(positions, self._docs(window), strict=True)
        ]

    def _prompts(self, window: range) -> list[GenerateRequest]:
        generation = self.data.spec.generation
        assert generation is not None
        sampling = Sampling(
            max_new_tokens=generation.max_new_tokens,
            temperature=generation.temperature,
            top_p=generation.top_p,
            stop=generation.stop,
        )
        found = []
        positions = self.data.positions[window.start : window.stop]
        for position, doc in zip(positions, self._docs(window), strict=True):
            text = self._requests(doc, position).args[0]
            # Where a server applies the chat template, the "prompt" is the messages themselves.
            messages = read_messages(text) if self.chat is write_messages else None
            own_seed = request_seed(self.seed, self.data.spec.task, self.data.ids[position])
            found.append(GenerateRequest(text, sampling, own_seed, messages))
        return found

    def _questions(self, window: range) -> list[str]:
        return [self.task.doc_to_text(doc) for doc in self._docs(window)]

    def _docs(self, window: range) -> Any:
        return self.task.eval_docs.select(self.data.positions[window.start : window.stop])

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


def chat_renderer(tokenizer: Any, template: str | None) -> Callable[..., str]:
    """A function that writes messages with a chat template.

    Args:
        template: Jinja text to use instead of the tokenizer's own.
    """

    def write(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        try:
            text: str = tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                chat_template=template,
            )
        except Exception as error:
            # A template is a program of its author's: anything can go wrong in it.
            hint = (
                "it may not take a system prompt: leave --system-prompt out"
                if any(m["role"] == "system" for m in messages)
                else "give another one with --chat-template FILE, or never"
            )
            raise BadInput(f"the chat template refuses the messages ({error}); {hint}.") from error
        if not text:
            raise BadInput(
                "the chat template writes nothing at all; give another one with --chat-template "
                "FILE, or never."
            )
        return text

    return write
