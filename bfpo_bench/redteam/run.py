"""Red teaming, stage by stage: respond, judge, choose pairs, rank, write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bfpo_bench.common.errors import RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.evaluation import stages
from bfpo_bench.redteam.pairs import Answer, choose_pair, decide, pairs_text, rank_pairs
from bfpo_bench.redteam.prompts import Prompt
from bfpo_bench.redteam.questions import TASK, ask
from bfpo_bench.redteam.request import RedteamOptions, Request, check_request
from bfpo_bench.redteam.summary import Summary, claim_output, owned_output, summarize, write_output
from bfpo_bench.run.directory import RunDirectory
from bfpo_bench.run.session import Session
from bfpo_bench.run.store import ItemRecord, ResponseRecord, Store, answer_key


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
    with owned_output(options):
        request = check_request(options)
        made_of = request.made_of()
        finished = claim_output(options, made_of)
        return finished or _run(request, made_of, progress)


def _run(request: Request, made_of: dict[str, Any], progress: Progress) -> Summary:
    options = request.options
    with (
        RunDirectory(
            options.run_folder, request.identity(), options.fresh, options.local_scratch
        ) as run,
        run.open_store() as store,
    ):
        session = Session(run, output=options.output.name)
        try:
            # Target, judge and ranker one after the other, each freed before the next.
            with session.timed("respond"):
                responses = _respond(request, run, store, progress)
            answers = _judge(request, responses, store, session, progress)
            chosen = [choose_pair(some) for some in answers]
            with session.timed("rank"):
                rankings = rank_pairs(responses, chosen, request.ranker, store, progress)
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                raise RunFailed(
                    "the memory does not suffice for this model; use --dtype bfloat16, lower "
                    "--max-new-tokens or --batch-size, or take a larger GPU, then run the same "
                    "command again to go on."
                ) from error
            raise
        finally:
            session.record()
        fates = decide(request, answers, chosen, rankings)
        text = pairs_text(request, fates, rankings)
        summary = summarize(request, made_of, text, responses, answers, fates)
        write_output(options, text, summary)
        return summary


def _respond(
    request: Request, run: RunDirectory, store: Store, progress: Progress
) -> list[list[ResponseRecord]]:
    """The responses to each prompt, in the order of their draws."""
    options, target = request.options, request.target
    asked = ask(
        request.prompts.prompts,
        options.responses,
        options.sampling,
        options.seed,
        target.chat(),
        options.system_prompt,
        options.thoughts.tokens,
    )
    store.add_items(_items(request.prompts.prompts))
    key = stages.model_key(run.identity)
    keys = [stages.response_key(asked, index, key) for index in range(len(asked.prompts))]
    if len(stages.responded(asked, key, store)) < len(keys):
        if target.note:
            progress.say(f"{target.name}: {target.note}.")
        with progress.stage(f"loading {target.name} ({target.backend})"):
            engine = target.open([asked], run.scratch)
        try:
            stages.respond(asked, key, engine, store, progress)
            run.clear_scratch()
        finally:
            engine.close()
    found = {response.key: response for response in store.responses(TASK)}
    n = options.responses
    return [[found[k] for k in keys[i : i + n]] for i in range(0, len(keys), n)]


def _judge(
    request: Request,
    responses: list[list[ResponseRecord]],
    store: Store,
    session: Session,
    progress: Progress,
) -> list[list[Answer]]:
    """The responses with their verdicts; equal ones to a prompt are judged once."""
    chosen = request.judge
    judge_key = answer_key("judge", chosen.identity())
    first = {(r.question, r.response): r for some in reversed(responses) for r in some[::-1]}
    distinct = [r for some in responses for r in some if first[r.question, r.response] is r]
    keys = {(TASK, r.item): stages.verdict_key(judge_key, r) for r in distinct}
    name = store.name_for(chosen.card.name, "verdicts", keys, judge_key)
    stages.judge_responses({TASK: distinct}, chosen, name, judge_key, store, session, progress)
    verdicts = {v.key: v for v in store.verdicts(TASK, name)}

    def answer(response: ResponseRecord) -> Answer:
        same = first[response.question, response.response]
        return Answer(response.response, verdicts[stages.verdict_key(judge_key, same)].harmful)

    return [[answer(response) for response in some] for some in responses]


def _items(prompts: list[Prompt]) -> Iterator[ItemRecord]:
    for position, prompt in enumerate(prompts):
        row = {"prompt": prompt.text, "category": prompt.category}
        yield ItemRecord(TASK, prompt.id, position, json.dumps(row, sort_keys=True))
