"""Any reward model that is a sequence classifier with one number: ``reward:PATH``.

Prompt and response are written as a conversation in the model's own chat template, or, for a model
without one (OpenAssistant's DeBERTa), as a pair of texts. The preference is the difference of the
two rewards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bfpo_bench.errors import BadInput
from bfpo_bench.fingerprint import TOKENIZER_FILES, files_fingerprint, weight_fingerprint
from bfpo_bench.models import ModelFiles, find_model, read_chat_template
from bfpo_bench.progress import Progress
from bfpo_bench.rankers.protocol import Comparison, RankerOptions, Ranking

IMPLEMENTATION = 1
"""Raised whenever the code changes so that the same weights rank otherwise."""

LONGEST = 4096
"""Tokens of a conversation at most; a longer prompt loses its beginning."""


@dataclass(frozen=True)
class ChosenReward:
    """A reward model that was found."""

    name: str
    options: RankerOptions
    files: ModelFiles
    template: str | None

    @property
    def dtype(self) -> str:
        """Number format of the weights."""
        return self.options.dtype_of(self.files)

    def identity(self) -> dict[str, Any]:
        """See :class:`ChosenRanker`."""
        weights = weight_fingerprint(self.files.weights)
        rest = files_fingerprint(
            self.files.folder, (*TOKENIZER_FILES, "config.json", "chat_template.jinja")
        )
        return {
            "ranker": self.name,
            "kind": "reward",
            "implementation": IMPLEMENTATION,
            "weights": f"{weights}-{rest}",
            "dtype": self.dtype,
        }

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[Reward]:
        """See :class:`ChosenRanker`."""
        import torch

        progress.say(f"Loading ranker {self.name} …")
        ranker = Reward(self)
        try:
            yield ranker
        finally:
            del ranker
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def choose_reward(options: RankerOptions, folder: str) -> ChosenReward:
    """Finds the checkpoint.

    Raises:
        BadInput: it is not there, or its head gives more than one number.
    """
    files = find_model(folder)
    labels = files.config.get("num_labels", len(files.config.get("id2label") or (0, 1)))
    if labels != 1:
        raise BadInput(
            f"the head of {files.name} gives {labels} numbers; a ranker needs a reward model that "
            "gives one."
        )
    return ChosenReward(options.ranker, options, files, read_chat_template(files.folder))


class Reward:
    """The loaded model.

    Sequences go through it one at a time: which token a padded sequence is read at differs between
    classifiers, and a red teaming has few pairs.
    """

    def __init__(self, chosen: ChosenReward) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        from bfpo_bench.engines.load import find_device
        from bfpo_bench.engines.tokenization import load_tokenizer

        files, options = chosen.files, chosen.options
        logging.disable_progress_bar()
        self._tokenizer = load_tokenizer(files.folder, options.trust_remote_code)
        self._tokenizer.truncation_side = "left" if chosen.template else "right"
        self._template = chosen.template
        self._device = find_device(options.device)
        try:
            model, found = AutoModelForSequenceClassification.from_pretrained(
                str(files.folder),
                dtype=getattr(torch, chosen.dtype),
                trust_remote_code=options.trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
            )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # config and weights come from anywhere
            first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise BadInput(
                f"{files.folder} cannot be loaded as a reward model ({first}); a sequence "
                "classifier that transformers knows is needed."
            ) from error
        missing = sorted(found["missing_keys"]) + [str(k[0]) for k in found["mismatched_keys"]]
        if missing:
            # transformers would fill them with random numbers and go on.
            raise BadInput(
                f"the reward model in {files.folder} lacks {len(missing)} weights (the first is "
                f"{missing[0]}); a trained sequence classifier is needed, not a language model."
            )
        # Without a padding token the last position is read, which is right for one sequence.
        model.config.get_text_config().pad_token_id = None
        self._model = model.to(self._device).eval()
        window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._longest = min(window or LONGEST, LONGEST)

    def rank(self, items: Sequence[Comparison]) -> list[Ranking]:
        """See :class:`Ranker`."""
        found = []
        for item in items:
            one, two = (self.reward(item.prompt, text) for text in (item.first, item.second))
            found.append(Ranking(one - two, f"{one:.4f} / {two:.4f}"))
        return found

    def reward(self, prompt: str, response: str) -> float:
        """The reward of a response."""
        import torch

        inputs = self._encode(prompt, response).to(self._device)
        with torch.inference_mode():
            return float(self._model(**inputs).logits[0, 0])

    def _encode(self, prompt: str, response: str) -> Any:
        shape = {"truncation": True, "max_length": self._longest, "return_tensors": "pt"}
        if self._template is None:
            return self._tokenizer(prompt, response, **shape)
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False)
        return self._tokenizer(text, add_special_tokens=False, **shape)
