"""The vLLM engine: continuous batching, answers handed out as they finish."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.processes import Guard, environment
from bfpo_bench.engines.plan import WINDOW, Order, Plan, PlannedEngine, answers_here
from bfpo_bench.engines.protocol import (
    Answered,
    EngineOptions,
    GenerateRequest,
    NonFiniteLogits,
    Response,
    Score,
    ScoreRequest,
)
from bfpo_bench.engines.thoughts import Decoder, apart
from bfpo_bench.engines.tokenization import (
    check_known,
    cut_at_stop,
    encode_many,
    encode_prompts,
    fit_prompt,
    joined_scores,
    score_parts,
)
from bfpo_bench.engines.vllm.startup import explained

PIECE = 256
"""Requests of a batch of a plan, which only says what a copy of the model is given at least: vLLM
finds its own. Also prompts tokenised at a time, while vLLM works on those before them."""

HAND_OUT_SECONDS = 0.5
"""Finished answers are handed out (and stored by the caller) at least this often."""

_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
}


class VLLMEngine(PlannedEngine):
    """A model in vLLM. Random numbers belong to the request (vLLM's per-request seed)."""

    backend = "vllm"
    window = sys.maxsize  # it finds its own batches

    def __init__(self, options: EngineOptions) -> None:
        with environment(_ENVIRONMENT):
            self._load(options)

    def _load(self, options: EngineOptions) -> None:
        import torch
        from vllm import LLM

        arguments: dict[str, Any] = {}
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            arguments["gpu_memory_utilization"] = options.gpu_memory_utilization
        else:
            # Compilation takes minutes on a CPU and gains little for a small model.
            arguments["enforce_eager"] = True
            # vLLM 0.32 rewinds the random numbers of a seeded request whose prompt it reads in
            # pieces, which a CPU's generator cannot do: the engine dies.
            arguments["enable_chunked_prefill"] = False
        if options.batch_size:
            arguments["max_num_seqs"] = options.batch_size
        self._guard = Guard()
        with self._guard.starting(), explained(on_gpu):
            self._llm = LLM(
                model=options.model,
                tokenizer=options.tokenizer or options.model,
                dtype=options.dtype,
                max_model_len=options.max_length,
                tensor_parallel_size=options.tensor_parallel_size,
                trust_remote_code=options.trust_remote_code,
                load_format="safetensors",
                # Only what the suite asks for: a checkpoint's own sampling defaults stay out.
                generation_config="vllm",
                seed=0,
                disable_log_stats=True,
                **arguments,
            )
        self._engine = self._llm.llm_engine
        self.tokenizer = self._llm.get_tokenizer()
        self._decoder = Decoder(self.tokenizer)
        self.max_length = int(self._engine.model_config.max_model_len)
        self._end_ids = _declared_end_ids(options.model)
        self._counter = itertools.count()

    # ------------------------------------------------------------------ scoring

    limits: tuple[int, ...] = ()

    def answers(
        self, orders: Iterable[Order], answered: Answered
    ) -> Iterator[list[tuple[int, Any]]]:
        """See :class:`PlannedEngine`."""
        yield from answers_here(self, orders, answered)

    def plan_scores(self, requests: Sequence[ScoreRequest]) -> Plan[Score]:
        """Log-likelihoods; what begins alike goes to one copy, whose prefix cache then holds it."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        # vLLM wants to generate one token, so one less fits than the window holds.
        window = self.max_length - 2

        def compute(left: list[int]) -> Iterator[list[tuple[int, Score]]]:
            parts, places = score_parts(self.tokenizer, [requests[i] for i in left], window)
            asked = ((i, context + more, params) for i, (context, more, _) in enumerate(parts))
            scores = (
                [(i, _score(*parts[i], output.prompt_logprobs)) for i, output in finished]
                for finished in self._run(asked)
            )
            yield from joined_scores(scores, [left[place] for place in places])

        return _planned([request.group for request in requests], compute)

    def plan_labels(
        self, prompts: Sequence[str], token_ids: Sequence[int], add_special_tokens: bool
    ) -> Plan[list[float]]:
        """Probabilities of labels."""
        from vllm import SamplingParams

        ids = list(token_ids)
        params = SamplingParams(
            temperature=0.0, max_tokens=1, logprob_token_ids=ids, detokenize=False
        )

        def labels(output: Any) -> list[float]:
            after = output.outputs[0].logprobs[0]
            return [float(after[token].logprob) for token in ids]

        def compute(left: list[int]) -> Iterator[list[tuple[int, list[float]]]]:
            encoded = encode_many(self.tokenizer, [prompts[i] for i in left], add_special_tokens)
            asked = ((i, tokens, params) for i, tokens in zip(left, encoded, strict=True))
            for finished in self._run(asked):
                yield [(index, labels(output)) for index, output in finished]

        return _planned(range(len(prompts)), compute)

    # --------------------------------------------------------------- generation

    def plan_responses(self, requests: Sequence[GenerateRequest]) -> Plan[Response]:
        """Responses."""
        from vllm import SamplingParams

        ends = sorted(self._end_ids) or None

        def compute(left: list[int]) -> Iterator[list[tuple[int, Response]]]:
            self._probe(requests, left[0])
            cuts: dict[int, int] = {}
            waiting = iter(left)

            def submissions() -> Iterator[tuple[int, list[int], Any]]:
                while chunk := {i: requests[i] for i in itertools.islice(waiting, PIECE)}:
                    encoded = encode_prompts(self.tokenizer, list(chunk.values()))
                    check_known(encoded, self._engine.model_config.get_vocab_size())
                    for (index, request), prompt in zip(chunk.items(), encoded, strict=True):
                        sampling = request.sampling
                        ids, cuts[index] = fit_prompt(prompt, request.most_tokens, self.max_length)
                        params = SamplingParams(
                            max_tokens=request.most_tokens,
                            temperature=sampling.temperature,
                            top_p=sampling.top_p,
                            stop=list(sampling.stop) or None,
                            stop_token_ids=ends,
                            seed=request.seed if sampling.temperature > 0 else None,
                        )
                        yield index, ids, params

            for finished in self._run(submissions()):
                yield [
                    (i, self._response(output, cuts.pop(i), requests[i])) for i, output in finished
                ]

        return _planned(range(len(requests)), compute)

    def _probe(self, requests: Sequence[GenerateRequest], first: int) -> None:
        """Looks at a prompt's logits: vLLM goes on sampling when they are no numbers."""
        [[value]] = self.label_logprobs([requests[first].prompt[-1000:]], [0])
        if math.isnan(value):
            raise NonFiniteLogits(first)

    def _response(self, output: Any, cut: int, request: GenerateRequest) -> Response:
        completion = output.outputs[0]
        ids = list(completion.token_ids)
        if ids and (ids[-1] in self._end_ids or ids[-1] == self.tokenizer.eos_token_id):
            ids.pop()
        kept = self._decoder.within(ids, request)
        text, finish = completion.text, str(completion.finish_reason)
        if len(kept) < len(ids):
            finish = "length"
        if self._decoder.special or len(kept) < len(ids):
            text, _ = cut_at_stop(self._decoder.text(kept), request.sampling.stop)
        return apart(
            Response(text, len(kept), len(output.prompt_token_ids), cut, finish),
            request.prompt,
            self._decoder.marks,
        )

    # --------------------------------------------------------------------- loop

    def _run(
        self, submissions: Iterator[tuple[int, list[int], Any]]
    ) -> Iterator[list[tuple[int, Any]]]:
        """Feeds requests as room appears and hands out what is finished, in the order it ends."""
        from vllm.sampling_params import RequestOutputKind

        waiting: dict[str, int] = {}
        finished: list[tuple[int, Any]] = []
        last = time.monotonic()
        more = True
        try:
            while more or waiting:
                while more and len(waiting) < WINDOW:  # up to 1,024 on a large GPU, as many again
                    entry = next(submissions, None)
                    if entry is None:
                        more = False
                        break
                    index, ids, params = entry
                    if len(ids) >= self.max_length:
                        raise BadInput(
                            f"a prompt of {len(ids)} tokens and its answer do not fit the context "
                            f"window of {self.max_length}."
                        )
                    # Answers are wanted whole; streaming them piecemeal costs time.
                    params.output_kind = RequestOutputKind.FINAL_ONLY
                    name = f"bfpo-{next(self._counter)}"
                    self._engine.add_request(name, {"prompt_token_ids": ids}, params)
                    waiting[name] = index
                for output in self._engine.step() if waiting else []:
                    if output.finished:
                        finished.append((waiting.pop(output.request_id), output))
                if finished and (not waiting or time.monotonic() - last > HAND_OUT_SECONDS):
                    yield finished
                    finished, last = [], time.monotonic()
        finally:
            if waiting:
                self._engine.abort_request(list(waiting))

    def close(self) -> None:
        """See :class:`bfpo_bench.engines.Engine`."""
        import gc

        self._engine.engine_core.shutdown()
        self._guard.dismiss()
        del self._engine, self._llm
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _planned(
    groups: Sequence[int], answers: Callable[[list[int]], Iterator[list[tuple[int, Any]]]]
) -> Plan[Any]:
    """Pieces of consecutive requests, with groups left whole."""
    pieces: list[list[int]] = []
    for index, group in enumerate(groups):
        if not pieces or (len(pieces[-1]) >= PIECE and group != groups[index - 1]):
            pieces.append([])
        pieces[-1].append(index)

    def compute(numbers: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, Any]]]:
        left = [index for number in numbers for index in pieces[number] if index not in known]
        if left:
            yield from answers(left)

    return Plan(pieces, compute, together=WINDOW)


def _score(context: list[int], continuation: list[int], cut: int, logprobs: Any) -> Score:
    """Sums vLLM's prompt log-probabilities over the continuation."""
    total = 0.0
    greedy = True
    for token, position in zip(continuation, logprobs[len(context) :], strict=True):
        entry = position[token]
        total += float(entry.logprob)
        # Rank 1 is the most probable token; on an exact tie vLLM gives both rank 1.
        greedy = greedy and entry.rank == 1
    return Score(total, greedy, cut)


def _declared_end_ids(folder: str) -> set[int]:
    """End-of-sequence ids of the checkpoint's generation config (a list in chat models)."""
    import json
    from pathlib import Path

    path = Path(folder) / "generation_config.json"
    if not path.is_file():
        return set()
    ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    if ids is None:
        return set()
    return {int(i) for i in ids} if isinstance(ids, list) else {int(ids)}
