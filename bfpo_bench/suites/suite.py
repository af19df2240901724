"""What a suite is: tasks, each with its column and group, and how to take part of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

from bfpo_bench.common.errors import BadInput, unknown_name
from bfpo_bench.common.sampling import Sampling

TASKS_FOLDER = Path(__file__).parent.parent / "tasks"
"""The package's own task files."""

Group = Literal["disc", "gen", "harm", "answ", "apart", "helpfulness"]
AVERAGED: tuple[Group, ...] = ("disc", "gen", "harm", "answ")
"""Groups whose tasks' mean is a number of the table."""
Direction = Literal["higher", "lower", "nearer-50"]
PromptKind = Literal["instructions", "continuations", "instructions in other languages"]
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
"""What a prompt can be: asked of an assistant, in English or not, or a text to go on with."""

JUDGED = ("harmless", "answered")
"""Metrics that count a judge's verdicts: of harm, of refusal."""

RESPONDED = (*JUDGED, "win_rate")
"""Metrics of tasks that ask for responses; those of the last an annotator compares."""


@dataclass(frozen=True)
class SuiteTask:
    """One column of the table.

    Attributes:
        task: name of an lm-eval task.
        column: title in the table.
        group: the average it enters: ``"disc"`` or ``"gen"`` (the paper's), ``"harm"`` (harmful
            prompts) or ``"answ"`` (benign look-alikes); ``"apart"``, ``"helpfulness"``: none.
        metric: lm-eval's metric of the task; of judged responses ``"harmless"``, or ``"answered"``:
            full compliance, by the refusal verdict; ``"win_rate"`` of annotated ones.
        direction: ``"higher"``, ``"lower"`` or ``"nearer-50"``.
        chat_template: whether prompts go through the model's chat template.
        generation: sampling of a judged or annotated task, None for a scored one.
        version: goes up with every change that can change a score.
        prompts: what a response is to the prompt; a judge says which kinds it can judge.
        source: name of the source of its rows, or the function that gives them.
        file: the task's YAML.
        note: what must be known of its number, if anything; a mark of its cell.
    """

    task: str
    column: str
    group: Group
    metric: str
    direction: Direction
    chat_template: bool
    generation: Sampling | None
    version: int
    prompts: PromptKind
    source: str
    file: Path
    note: str | None = None

    @property
    def judged(self) -> bool:
        """Whether a judge gives it its number."""
        return self.metric in JUDGED

    @property
    def packaged(self) -> bool:
        """Whether it is one of the package's own."""
        return self.file.parent == TASKS_FOLDER


@dataclass(frozen=True)
class Suite:
    """A named list of tasks.

    Attributes:
        data: ``"real"`` (files or hub) or ``"mini"`` (the bundled items).
        judge: default judge card.
        refusal_judge: the one that says what is refused, where `judge` does not; None for none.
        tasks: what the averages are taken over.
        helpfulness: the task that an annotator compares with reference outputs, if it has one.
        parts: the suites that it is joined of.
    """

    name: str
    version: int | str
    data: Literal["real", "mini"]
    judge: str
    tasks: tuple[SuiteTask, ...]
    helpfulness: SuiteTask | None = None
    refusal_judge: str | None = None
    parts: tuple[Suite, ...] = ()

    def averaged(self) -> dict[str, str]:
        """Of a joined suite: group → the suites among its parts that say which tasks are in it."""
        return {
            group: " + ".join(f"{part.name} {part.version}" for part in having)
            for group in AVERAGED
            if (having := [p for p in self.parts if any(t.group == group for t in p.tasks)])
        }

    @property
    def everything(self) -> tuple[SuiteTask, ...]:
        """All tasks, that of helpfulness last."""
        return self.tasks if self.helpfulness is None else (*self.tasks, self.helpfulness)

    @property
    def demonstration(self) -> bool:
        """Whether its numbers show that the path works and measure nothing."""
        return self.data == "mini"

    def sampled(
        self, otherwise: Callable[[Sampling], Sampling], but: Collection[str] = ()
    ) -> Suite:
        """The suite with other settings of the tasks that generate, except some by their names."""

        def drawn(task: SuiteTask) -> SuiteTask:
            if task.generation is None or task.task in but:
                return task
            return replace(task, generation=otherwise(task.generation))

        helpful = self.helpfulness
        return replace(
            self, tasks=tuple(map(drawn, self.tasks)), helpfulness=helpful and drawn(helpful)
        )

    def only(self, names: Sequence[str]) -> Suite:
        """The suite cut down to some of its tasks (``toxigen`` stands for ``bfpo_toxigen``).

        Args:
            names: tasks and groups (``disc``, ``gen``, ``harm``, ``answ``, ``alpaca``). Those with
                a minus before them are taken from the others; from all that enter an average where
                there are none.

        Raises:
            BadInput: an unknown name, or nothing is left.
        """
        less = [name for name in names if name.startswith("-")]
        more = [name for name in names if name not in less]
        wanted = {task for name in more for task in self._called(name)}
        wanted = wanted if more else {task.task for task in self.tasks}
        wanted -= {task for name in less for task in self._called(name[1:].strip())}
        if not wanted:
            raise BadInput(
                f"--tasks {','.join(names)} leaves no task of suite {self.name}; leave out fewer."
            )
        tasks = tuple(t for t in self.tasks if t.task in wanted)
        helpful = self.helpfulness
        if helpful is not None and helpful.task not in wanted:
            helpful = None
        return replace(self, tasks=tasks, helpfulness=helpful)

    def _called(self, name: str) -> list[str]:
        """The tasks that a name stands for."""
        known = [t.task for t in self.everything]
        groups: dict[str, list[str]] = {}
        for task in self.tasks:
            groups.setdefault(task.group, []).append(task.task)
        if self.helpfulness is not None:
            groups["alpaca"] = [self.helpfulness.task]
        full = name if name.startswith("bfpo_") or name in known else f"bfpo_{name}"
        if full.removeprefix("bfpo_") in groups:
            return groups[full.removeprefix("bfpo_")]
        if full not in known:
            raise unknown_name("task", name, [*known, *(f"bfpo_{group}" for group in groups)])
        return [full]

    def typed(self, wanted: Collection[str]) -> str:
        """The shortest text for ``--tasks`` by which :meth:`only` finds just these tasks."""
        texts = []
        there = [group for group in AVERAGED if any(task.group == group for task in self.tasks)]
        some = [list(part) for n in range(len(there) + 1) for part in combinations(there, n)]
        for base in (*some, None):
            based = {t.task for t in self.tasks if base is None or t.group in base}
            more = [t.task for t in self.everything if t.task in wanted and t.task not in based]
            less = [t.task for t in self.tasks if t.task in based and t.task not in wanted]
            short = [task.removeprefix("bfpo_") for task in more]
            short += [f"-{task.removeprefix('bfpo_')}" for task in less]
            if base is not None or (less and not more):
                texts.append(",".join([*(base or []), *short]))
        return min(texts, key=len)
