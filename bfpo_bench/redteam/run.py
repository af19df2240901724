"""Red teaming, stage by stage: respond, judge, choose pairs, rank, write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.evaluation.going_on import format_note
from bfpo_bench.redteam.options import RedteamOptions
from bfpo_bench.redteam.output import claim_output, write_output
from bfpo_bench.redteam.pairs import decide, pairs_text
from bfpo_bench.redteam.prompts import Prompt
from bfpo_bench.redteam.questions import TASK, Questions, ask
from bfpo_bench.redteam.ranking import rank_pairs
from bfpo_bench.redteam.request import Request, check_request
from bfpo_bench.redteam.selection import Answer, Dropped, choose_pair
from bfpo_bench.redteam.summary import Summary, summarize
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.session import Session
from bfpo_bench.run.store import (
    ItemRecord,
    RankingRecord,
    ResponseRecord,
    Store,
    VerdictRecord,
    answer_key,
)


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
    request = check_request(options).going_on()
    made_of = request.made_of()
    finished = claim_output(options, made_of)
    if finished is not None:
        return finished
    with (
        RunDirectory(options.run_folder, request.identity(), fresh=options.fresh) as run,
        run.open_store() as store,
    ):
        try:
            return _Redteaming(request, made_of, run, store, progress).run()
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                raise RunFailed(
                    "the memory does not suffice for this model; use --dtype bfloat16, lower "
                    "--max-new-tokens or --batch-size, or take a larger GPU, then run the same "
                    "command again to go on."
                ) from error
            raise


class _Redteaming:
    """One session: target, judge and ranker one after the other, each freed before the next."""

    def __init__(
        self,
        request: Request,
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
        self.session = Session(run, output=request.options.output.name)

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
                options.thoughts.tokens,
            )
            self.store.add_items(_items(self.prompts.prompts))
            with self.session.timed("respond"):
                responses = self._respond(asked)
            with self.session.timed("judge"):
                answers = self._judge(responses)
            chosen = [choose_pair(some) for some in answers]
            with self.session.timed("rank"):
                rankings = self._rank(responses, chosen)
            fates = decide(self.request, answers, chosen, rankings)
            text = pairs_text(self.request, fates, rankings)
            cut_off = sum(r.finish == "length" for some in responses for r in some)
            silent = sum(r.no_answer is not None for some in responses for r in some)
            summary = summarize(self.request, self.made_of, text, answers, fates, cut_off, silent)
            write_output(options, text, summary)
            return summary
        finally:
            self.session.record()

    def _respond(self, asked: Questions) -> list[list[ResponseRecord]]:
        """The responses to each prompt, in the order of their draws."""
        key = stages.model_key(self.run_directory.identity)
        keys = [stages.response_key(asked, index, key) for index in range(len(asked.prompts))]
        if len(stages.responded(asked, key, self.store)) < len(keys):
            target = self.request.target
            self.progress.say(f"Loading {target.name} ({target.backend}) …")
            if note := format_note(target, self.request.options):
                self.progress.say(f"{target.name}: {note}.")
            engine = target.open([asked], self.run_directory.scratch)
            try:
                stages.respond(asked, key, engine, self.store, self.progress)
                self.run_directory.clear_scratch()
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
        keys = {(TASK, r.item): stages.verdict_key(judge_key, r) for r in distinct}
        name = self.store.name_for(chosen.card.name, "verdicts", keys, judge_key)
        if len(stages.judged(TASK, distinct, name, judge_key, self.store)) < len(distinct):
            with chosen.opened(self.progress) as judge:
                stages.judge(TASK, distinct, name, judge_key, judge, self.store, self.progress)
        verdicts = {v.key: v for v in self.store.verdicts(TASK, name)}

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


def _items(prompts: list[Prompt]) -> Iterator[ItemRecord]:
    for position, prompt in enumerate(prompts):
        row = {"prompt": prompt.text, "category": prompt.category}
        yield ItemRecord(TASK, prompt.id, position, json.dumps(row, sort_keys=True))
