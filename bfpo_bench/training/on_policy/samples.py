"""Responses that a model which is not being trained gives to prompts, kept as they come.

On-policy training samples from the policy under way, by TRL; here a checkpoint is asked by the same
engine that evaluates it: RAFT's start model before its fine-tuning, C-DPO's policies after theirs.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from bfpo_bench.common.errors import BadInput, RunFailed, why_unwritable
from bfpo_bench.common.files import atomic_write
from bfpo_bench.common.progress import Progress
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.open import open_engine
from bfpo_bench.engines.options import Loading
from bfpo_bench.engines.protocol import Engine, GenerateRequest
from bfpo_bench.models.checkpoint import ModelFiles
from bfpo_bench.models.fingerprint import checkpoint_digest
from bfpo_bench.training.data.chat_template import ChatTemplate
from bfpo_bench.training.data.preferences import Messages
from bfpo_bench.training.on_policy.ratings import Answered, Rated
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_parts import RolloutRecipe

RESPONSES_AT_ONCE = 512
"""Of one process, between two meetings, at least of one prompt."""


class Samples(NamedTuple):
    """The responses of a model to one prompt.

    Attributes:
        responses: their texts.
        cut: of each, whether it was cut off at the most tokens that it may have.
    """

    responses: tuple[str, ...]
    cut: tuple[bool, ...]


@dataclass(frozen=True)
class Sampler:
    """How checkpoints are asked.

    Attributes:
        chat: the template that prompts are written in.
        seed: decides how chance falls: for a prompt and the number of its response the same way,
            whichever model is asked.
    """

    rollout: RolloutRecipe
    chat: ChatTemplate
    seed: int
    date: str
    trust_remote_code: bool = False

    def sample(
        self,
        files: ModelFiles,
        prompts: Sequence[Messages],
        path: Path,
        state: PartialState,
        progress: Progress,
    ) -> list[Samples]:
        """Responses to each prompt; what the file holds of them already is not asked again.

        All processes share the prompts; the main process alone reads and writes the file.

        Args:
            path: JSON lines, one a prompt after one that says what they are of.

        Raises:
            BadInput: several processes are to sample with vLLM.
        """
        if self.rollout.engine == "vllm" and state.num_processes > 1:
            raise BadInput(
                "rollout.engine is vllm, which here samples in one process, and there are "
                f"{state.num_processes}; run this recipe without accelerate launch until its "
                "responses are sampled, or set rollout.engine=hf."
            )
        of = self._of(files, prompts)
        found: list[Samples]
        [found] = broadcast_object_list([_kept(path, of) if state.is_main_process else None])
        # A round that was written in part is made anew, so that its batches are those of before.
        each = max(1, RESPONSES_AT_ONCE // self.rollout.num_generations)
        if len(found) < len(prompts):
            del found[len(found) - len(found) % (each * state.num_processes) :]
            if state.is_main_process:
                _write(path, of, zip(prompts, found, strict=False))
            with (
                closing(self._open(files, state)) as engine,
                progress.stage("sample responses", len(prompts), len(found), unit="prompts"),
            ):
                while len(found) < len(prompts):
                    first = len(found) + state.process_index * each
                    new = gather_object(self._answers(engine, prompts[first : first + each]))
                    if state.is_main_process:
                        _append(path, _lines(zip(prompts[len(found) :], new, strict=False)))
                    found += new
                    progress.advance(len(new))
        return found

    def _open(self, files: ModelFiles, state: PartialState) -> Engine:
        # A trainer before this one holds its model until its circles are found.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        loading = self.loading(str(state.device))
        return open_engine(self.rollout.engine, loading.engine_options(files))

    def loading(self, device: str = "auto") -> Loading:
        """How a checkpoint is loaded."""
        return Loading(
            backend=self.rollout.engine,
            device=device,
            trust_remote_code=self.trust_remote_code,
            date=self.date,
            **self.rollout.vllm,
        )

    def _answers(self, engine: Engine, prompts: Sequence[Messages]) -> list[Samples]:
        count, rollout = self.rollout.num_generations, self.rollout
        sampling = Sampling(rollout.max_completion_length, rollout.temperature, rollout.top_p)
        requests = [
            GenerateRequest(
                *(self.chat.question(prompt), sampling, _seed(self.seed, prompt, number), prompt),
                special_tokens=False,
            )
            for prompt in prompts
            for number in range(count)
        ]
        answers = dict(pair for batch in engine.respond(requests) for pair in batch)
        every = [answers[index] for index in range(len(requests))]
        return [
            Samples(tuple(one.text for one in some), tuple(one.finish == "length" for one in some))
            for some in (every[at : at + count] for at in range(0, len(every), count))
        ]

    def _of(self, files: ModelFiles, prompts: Sequence[Messages]) -> str:
        """16 hex digits of all that the responses depend on."""
        asked = [self.chat.question(prompt) for prompt in prompts]
        rollout = {**asdict(self.rollout), "engine": None, "vllm": None}
        parts = [checkpoint_digest(files), asked, rollout, self.seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def sampler_of(recipe: Recipe, chat: ChatTemplate, trust_remote_code: bool = False) -> Sampler:
    """What asks by a recipe's rollout.

    Raises:
        BadInput: the copies that are to be asked cannot be had.
    """
    sampler = Sampler(recipe.rollout, chat, recipe.seed, recipe.tokens.date, trust_remote_code)
    sampler.loading().check_copies()
    return sampler


def answered(prompts: Sequence[Messages], samples: Sequence[Samples]) -> list[Answered]:
    """Prompts and responses as they are rated."""
    return [(prompt, one.responses) for prompt, one in zip(prompts, samples, strict=True)]


def add_rewards(path: Path, rated: Rated, best: Sequence[int | None] | None = None) -> None:
    """Writes into the file of samples what each response is worth, and which one was taken.

    Args:
        best: its number among its prompt's; None where none was taken.
    """
    first, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    rows = [json.loads(line) for line in lines]
    for index, row in enumerate(rows):
        row["rewards"] = {name: values[index] for name, values in rated.items()}
        if best is not None:
            row["best"] = best[index]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write(path, f"{first}\n{text}")


def _seed(seed: int, prompt: Messages, number: int) -> int:
    digest = hashlib.sha256(json.dumps([seed, prompt, number]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _lines(samples: Iterable[tuple[Messages, Samples]]) -> list[str]:
    rows = ({"prompt": prompt, **one._asdict()} for prompt, one in samples)
    return [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]


def _write(path: Path, of: str, samples: Iterable[tuple[Messages, Samples]]) -> None:
    atomic_write(path, "".join([json.dumps({"of": of}) + "\n", *_lines(samples)]))


def _append(path: Path, lines: Sequence[str]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise RunFailed(
            f"the sampled responses cannot be written to {path} ({why_unwritable(error)}); mend "
            "that and run the same command again: it goes on from those that are there."
        ) from error


def _kept(path: Path, of: str) -> list[Samples]:
    """What a file holds of these samples, up to the first line that is not whole."""
    found: list[Samples] = []
    try:
        first, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        if json.loads(first) != {"of": of}:
            return []
        for line in lines:
            row: Any = json.loads(line)
            found.append(Samples(tuple(map(str, row["responses"])), tuple(map(bool, row["cut"]))))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return found
