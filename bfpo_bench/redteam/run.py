"""Red teaming, stage by stage: respond, judge, choose pairs, rank, write."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bfpo_bench import stages
from bfpo_bench.engines.select import choose_backend
from bfpo_bench.errors import RunFailed
from bfpo_bench.judges import load_judge
from bfpo_bench.judging import ChosenJudge, choose_judge
from bfpo_bench.progress import Progress
from bfpo_bench.rankers import ChosenRanker, choose_ranker
from bfpo_bench.redteam.options import RedteamOptions
from bfpo_bench.redteam.output import claim_output, write_output
from bfpo_bench.redteam.prompts import Prompt, PromptSet, read_prompts
from bfpo_bench.redteam.questions import TASK, Questions, ask, conversation
from bfpo_bench.redteam.ranking import rank_pairs
from bfpo_bench.redteam.selection import Answer, Dropped, choose_pair
from bfpo_bench.redteam.summary import Summary, count, kinds_of_pairs
from bfpo_bench.rundir import RunDirectory
from bfpo_bench.store import (
    ItemRecord,
    RankingRecord,
    ResponseRecord,
    Store,
    VerdictRecord,
    answer_key,
)
from bfpo_bench.target import Target, find_target
from bfpo_bench.training.readers import write_row
from bfpo_bench.training.records import PreferenceRecord


def redteam(options: RedteamOptions, progress: Progress | None = None) -> Summary:
    """Runs, resumes or, where it is finished, reads a red teaming.

    Everything computed is in the run directory as soon as it is computed. The same options again
    go on where an interrupted run stopped and end with the same file; another judge, ranker or
    number of responses in the same run directory takes up what is there.

    Raises:
        BadInput: something asked for cannot be had (before any long work).
        RunFailed: the run stopped on the way; what is done is kept.
    """
    progress = progress or Progress(show=False)
    request = _check(options)
    made_of = request.made_of()
    finished = claim_output(options, made_of)
    if finished is not None:
        return finished
    with (
        RunDirectory(options.run_folder, request.identity(), fresh=options.fresh) as run,
        run.open_store() as store,
    ):
        try:
            return _Sitting(request, made_of, run, store, progress).run()
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                raise RunFailed(
                    "the memory does not suffice for this model; use --dtype bfloat16, lower "
                    "--max-new-tokens or --batch-size, or take a larger GPU, then run the same "
                    "command again to go on."
                ) from error
            raise


@dataclass(frozen=True)
class _Request:
    """What the options stand for once files were found and read."""

    options: RedteamOptions
    prompts: PromptSet
    target: Target
    judge: ChosenJudge
    ranker: ChosenRanker

    def identity(self) -> dict[str, Any]:
        """What all responses in the run directory have in common; see :mod:`bfpo_bench.rundir`.

        Prompts, judge and ranker are no part of it: every answer's key says what it is of.
        """
        options = self.options
        return {
            "kind": TASK,
            "model": self.target.identity(),
            "backend": self.target.backend,
            "dtype": self.target.dtype,
            "max_length": options.max_length,
            "system_prompt": options.system_prompt,
            "sampling": {**vars(options.sampling), "stop": list(options.sampling.stop)},
            "seed": options.seed,
            "tasks": {},
            "data": {},
        }

    def made_of(self) -> dict[str, Any]:
        """All that the preference file depends on."""
        identity = {k: v for k, v in self.identity().items() if k not in ("tasks", "data")}
        return {
            **identity,
            "prompts": self.prompts.digest,
            "responses": self.options.responses,
            "judge": self.judge.identity(),
            "ranker": self.ranker.identity(),
        }


def _check(options: RedteamOptions) -> _Request:
    # Only the judge's card for now: weights are looked for when all else was found.
    load_judge(options.judge)
    prompts = read_prompts(options)
    target = find_target(options.target_options(), choose_backend(options.backend))
    ranker = choose_ranker(options.ranker_options())
    return _Request(options, prompts, target, choose_judge(options.judge_options()), ranker)


class _Sitting:
    """One sitting: target, judge and ranker one after the other, each freed before the next."""

    def __init__(
        self,
        request: _Request,
        made_of: dict[str, Any],
        run: RunDirectory,
        store: Store,
        progress: Progress,
    ) -> None:
        self.request = request
        self.options = request.options
        self.prompts = request.prompts
        self.made_of = made_of
        self.run_directory = run
        self.store = store
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def run(self) -> Summary:
        options = self.options
        try:
            asked = ask(
                self.prompts.prompts,
                options.responses,
                options.sampling,
                options.seed,
                self.request.target.chat(),
                options.system_prompt,
            )
            self.store.add_items(_items(self.prompts.prompts))
            with self._timed("respond"):
                responses = self._respond(asked)
            with self._timed("judge"):
                answers = self._judge(responses)
            chosen = [choose_pair(some) for some in answers]
            with self._timed("rank"):
                rankings = self._rank(responses, chosen)
            fates = self._fates(responses, answers, chosen, rankings)
            return self._write(responses, answers, fates, rankings)
        finally:
            self._record_session()

    def _respond(self, asked: Questions) -> list[list[ResponseRecord]]:
        """The responses to each prompt, in the order of their draws."""
        key = stages.model_key(self.run_directory.identity)
        keys = [stages.response_key(asked, index, key) for index in range(len(asked.prompts))]
        if not self.store.keys("responses", TASK).issuperset(keys):
            target = self.request.target
            self.progress.say(f"Loading {target.name} ({target.backend}) …")
            engine = target.open([asked])
            try:
                stages.respond(asked, key, engine, self.store, self.progress)
            finally:
                engine.close()
        found = {response.key: response for response in self.store.responses(TASK)}
        n = asked.responses
        return [[found[k] for k in keys[i : i + n]] for i in range(0, len(keys), n)]

    def _judge(self, responses: list[list[ResponseRecord]]) -> list[list[Answer]]:
        """The responses with their verdicts; equal ones to a prompt are judged once."""
        chosen = self.request.judge
        judge_key = answer_key("judge", chosen.identity())
        first = {(r.question, r.response): r for some in reversed(responses) for r in some[::-1]}
        distinct = [r for some in responses for r in some if first[r.question, r.response] is r]
        if stages.unjudged(distinct, judge_key, self.store):
            with chosen.opened(self.progress) as judge:
                stages.judge(
                    *(TASK, distinct, chosen.card.name, judge_key),
                    *(judge, self.store, self.progress),
                )
        verdicts = {v.key: v for v in self.store.verdicts(TASK, chosen.card.name)}

        def verdict(response: ResponseRecord) -> VerdictRecord:
            same = first[response.question, response.response]
            return verdicts[stages.verdict_key(judge_key, same)]

        return [[Answer(r.response, verdict(r).harmful) for r in some] for some in responses]

    def _rank(
        self,
        responses: list[list[ResponseRecord]],
        chosen: Sequence[tuple[int, int] | Dropped],
    ) -> list[RankingRecord | None]:
        """The ranking of each prompt's pair; None where it has none."""
        pairs = [
            None if isinstance(pair, Dropped) else (some[pair[0]], some[pair[1]])
            for some, pair in zip(responses, chosen, strict=True)
        ]
        found = iter(
            rank_pairs(
                [pair for pair in pairs if pair is not None],
                self.request.ranker,
                self.store,
                self.progress,
            )
        )
        return [None if pair is None else next(found) for pair in pairs]

    def _fates(
        self,
        responses: list[list[ResponseRecord]],
        answers: list[list[Answer]],
        chosen: Sequence[tuple[int, int] | Dropped],
        rankings: list[RankingRecord | None],
    ) -> list[Dropped | PreferenceRecord]:
        """The pair that each prompt makes, or why it makes none."""
        found: list[Dropped | PreferenceRecord] = []
        for number, pair in enumerate(chosen):
            ranking = rankings[number]
            if isinstance(pair, Dropped) or ranking is None:
                found.append(pair if isinstance(pair, Dropped) else Dropped.UNRANKED)
            elif ranking.preference is None:
                found.append(Dropped.UNRANKED)
            elif ranking.preference == 0:
                found.append(Dropped.TIE)
            else:
                prompt = self.prompts.prompts[number]
                one, two = (answers[number][i] for i in pair)
                safe = (one.harmful is False, two.harmful is False)
                found.append(
                    PreferenceRecord(
                        prompt=conversation(prompt.text, self.options.system_prompt),
                        responses=(one.text, two.text),
                        more_helpful=int(ranking.preference < 0),
                        safe=safe,
                        safer=None if safe[0] == safe[1] else int(safe[1]),
                        source=TASK,
                        where=prompt.id,
                    )
                )
        return found

    def _write(
        self,
        responses: list[list[ResponseRecord]],
        answers: list[list[Answer]],
        fates: list[Dropped | PreferenceRecord],
        rankings: list[RankingRecord | None],
    ) -> Summary:
        options = self.options
        lines = []
        for prompt, fate, ranking in zip(self.prompts.prompts, fates, rankings, strict=True):
            if isinstance(fate, PreferenceRecord) and ranking is not None:
                about = {
                    "id": prompt.id,
                    "category": prompt.category,
                    "judge": self.request.judge.card.name,
                    "ranker": self.request.ranker.name,
                    "preference": ranking.preference,
                }
                lines.append(json.dumps({**write_row(fate), **about}) + "\n")
        text = "".join(lines)
        total, categories = count(self.prompts, answers, fates)
        cut_off = sum(r.finish == "length" for some in responses for r in some)
        dropped = Counter(fate.value for fate in fates if isinstance(fate, Dropped))
        summary = Summary(
            output=options.output.name,
            digest=hashlib.sha256(text.encode("ascii")).hexdigest(),
            made_of=self.made_of,
            prompts={
                "source": self.prompts.where,
                "rows": self.prompts.rows,
                "blank": self.prompts.blank,
                "repeated": self.prompts.repeated,
                "left_out": self.prompts.left_out,
            },
            total=total,
            categories=categories,
            pairs=kinds_of_pairs(fates),
            dropped={reason.value: dropped[reason.value] for reason in Dropped},
            cut_off=cut_off,
            notes=[],
        )
        summary.notes.extend(self._notes(summary))
        write_output(options, text, summary)
        return summary

    def _notes(self, summary: Summary) -> list[str]:
        total, judge = summary.total, self.request.judge.card.name
        notes = [*self.prompts.marks]
        if self.request.target.plain:
            notes.append(f"{self.request.target.plain[0].upper()}{self.request.target.plain[1:]}.")
        if total.unknown == total.responses:
            notes.append(f"The judge {judge} could not tell of any response whether it is harmful.")
        elif not total.harmful:
            notes.append(f"None of {total.responses} responses was judged harmful by {judge}.")
        if not total.pairs:
            notes.append(f"{summary.output} is empty: there is nothing to train on.")
        if summary.cut_off:
            notes.append(
                f"{summary.cut_off} of {total.responses} responses were cut off at "
                f"{self.options.max_new_tokens} tokens."
            )
        return notes

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = time.monotonic() - begin

    def _record_session(self) -> None:
        from bfpo_bench.environment import describe_environment

        seconds = {stage: round(spent, 2) for stage, spent in self.seconds.items()}
        self.run_directory.record_session(
            describe_environment(),
            {"started": self.started, "output": self.options.output.name, "seconds": seconds},
        )


def _items(prompts: list[Prompt]) -> Iterator[ItemRecord]:
    for position, prompt in enumerate(prompts):
        row = {"prompt": prompt.text, "category": prompt.category}
        yield ItemRecord(TASK, prompt.id, position, json.dumps(row, sort_keys=True))
