"""Reward models: sequence classifiers of one or several objectives, ArmoRM among them.

A response is rated with its conversation, written in the model's own chat template, or, for a model
without one (OpenAssistant's DeBERTa), as a pair of texts.

ArmoRM (Wang et al. 2024) comes with its own code, which is not run. What it rates a response with
is published: a linear map without bias, ``regression_layer``, from the last token's hidden state to
19 objectives. That is a sequence classifier whose head has another name, and is loaded as one. The
mixture of the objectives by the prompt (``gating``) is not part of it: it makes one score of them,
and here they are asked for by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bfpo_bench.common.batches import in_order
from bfpo_bench.common.errors import BadInput, first_line, unknown_name
from bfpo_bench.engines.hf.load import torch_device
from bfpo_bench.engines.plan import Order, Plan, answers_here
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.engines.tokenization import check_known, load_tokenizer
from bfpo_bench.models.chat import Chat, TemplateFault
from bfpo_bench.models.checkpoint import ModelFiles, find_model
from bfpo_bench.models.clock import DATE
from bfpo_bench.models.number_format import choose_format
from bfpo_bench.models.template_files import read_chat_template
from bfpo_bench.models.weights import safetensors_header

Messages = tuple[tuple[str, str], ...]
"""A conversation: (role, content) of each turn."""

ARMORM = "LlamaForRewardModelWithGating"
ARMORM_HEAD = "regression_layer"
ARMORM_OBJECTIVES = (
    *("helpsteer-helpfulness", "helpsteer-correctness", "helpsteer-coherence"),
    *("helpsteer-complexity", "helpsteer-verbosity", "ultrafeedback-overall_score"),
    *("ultrafeedback-instruction_following", "ultrafeedback-truthfulness"),
    *("ultrafeedback-honesty", "ultrafeedback-helpfulness", "beavertails-is_safe"),
    *("prometheus-score", "argilla-overall_quality", "argilla-judge_lm", "code-complexity"),
    *("code-style", "code-explanation", "code-instruction-following", "code-readability"),
)
"""In the order of the head's rows, from ArmoRM's model card."""

HEADS = (
    *("score.weight", "classifier.weight", "classifier.out_proj.weight", "score.out_proj.weight"),
    f"{ARMORM_HEAD}.weight",
)
"""Names of a head's last layer; its rows are the objectives."""

LONGEST = 4096
"""Tokens of a conversation at most; a longer one loses its beginning."""

BATCH = 16
"""Conversations that go through a reward model at once."""


@dataclass(frozen=True)
class RewardModelFiles:
    """A reward model that was found, its head looked at.

    Attributes:
        objectives: name of each output; a number where the checkpoint gives no name.
    """

    files: ModelFiles
    objectives: tuple[str, ...]

    def column(self, objective: str | None) -> int:
        """Number of the output that an objective stands for.

        Args:
            objective: a name or a number; for ArmoRM ``helpfulness`` and ``is_safe`` too, for the
                two that the BFPO paper took. None where there is only one.

        Raises:
            BadInput: the head has no such output.
        """
        names = self.objectives
        if objective is None and len(names) == 1:
            return 0
        if objective is None:
            raise BadInput(
                f"the reward model {self.files.name} rates {len(names)} objectives; say which with "
                f"'objective': {', '.join(names)}."
            )
        if names == ARMORM_OBJECTIVES:
            short = {"helpfulness": "ultrafeedback-helpfulness", "is_safe": "beavertails-is_safe"}
            objective = short.get(objective, objective)
        if objective in names:
            return names.index(objective)
        if objective.isdigit():
            if int(objective) < len(names):
                return int(objective)
            raise BadInput(
                f"the reward model {self.files.name} has no objective number {objective}; its head "
                f"has {len(names)} outputs, counted from 0."
            )
        raise unknown_name(f"objective of the reward model {self.files.name}:", objective, names)


def find_reward_model(model: str, revision: str | None = None) -> RewardModelFiles:
    """Finds a reward model and reads the shape of its head. Loads no weights.

    Args:
        model: folder or hub id.

    Raises:
        BadInput: there is none, or it has no head of a sequence classifier.
    """
    files = find_model(model, revision)
    shapes: dict[str, list[int]] = {}
    for path in files.weights:
        header = safetensors_header(path)
        shapes.update({name: header[name]["shape"] for name in HEADS if name in header})
    if not shapes:
        raise BadInput(
            f"{files.name} has no reward head ({', '.join(HEADS)}) among its weights; a sequence "
            "classifier is needed, such as RLHFlow/ArmoRM-Llama3-8B-v0.1."
        )
    [(name, (count, *_)), *_] = shapes.items()
    named = files.config.get("id2label")
    objectives: tuple[str, ...]
    if name.startswith(ARMORM_HEAD) and count == len(ARMORM_OBJECTIVES):
        objectives = ARMORM_OBJECTIVES
    elif isinstance(named, dict) and len(named) == count:
        objectives = tuple(str(named.get(str(n), n)) for n in range(count))
    else:
        objectives = tuple(map(str, range(count)))
    return RewardModelFiles(files, objectives)


class RewardModel:
    """A loaded reward model.

    Args:
        found: from :func:`find_reward_model`.
        device: where it is kept.
        dtype: number format of the weights; None takes the checkpoint's, but float32 on a CPU
            without units for that.
        date: what the clock of its chat template says.

    Raises:
        BadInput: transformers cannot make a sequence classifier of it.
    """

    limits: tuple[int, ...] = ()

    def __init__(
        self,
        found: RewardModelFiles,
        device: torch.device,
        dtype: str | None = None,
        date: str = DATE,
    ) -> None:
        self._name = found.files.name
        self._device = device
        dtype = dtype or choose_format(found.files, device=str(device)).dtype
        self._model = _load(found, dtype).to(device).eval()
        template = read_chat_template(found.files.folder)
        self._tokenizer = load_tokenizer(found.files.folder, False)
        self._chat = Chat(self._tokenizer, template, date) if template else None
        self._tokenizer.truncation_side = "left" if template else "right"
        self._tokenizer.padding_side = "right"
        self._known = int(self._model.get_input_embeddings().weight.shape[0])
        pad = self._tokenizer.pad_token_id
        # Nothing looks at padding: any token that the model has will do.
        self._pad = pad if pad is not None and pad < self._known else 0
        window = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._longest = min(window or LONGEST, LONGEST)
        self._last: tuple[tuple[Any, ...], Tensor] | None = None

    def rate(self, prompts: Sequence[Messages], responses: Sequence[str]) -> Tensor:
        """All objectives of some responses, float32 [responses, objectives], on the CPU.

        What was asked last is remembered: the rewards of one recipe may be objectives of one model.
        """
        asked = (tuple(prompts), tuple(responses))
        if self._last is None or self._last[0] != asked:
            self._last = asked, torch.stack(in_order(self.batches(*asked), len(responses)))
        return self._last[1]

    def batches(
        self, prompts: Sequence[Messages], responses: Sequence[str], answered: Collection[int] = ()
    ) -> Iterator[list[tuple[int, Tensor]]]:
        """Number and objectives, float32 [objectives], of each response, a batch at a time.

        Args:
            answered: numbers of responses whose rewards are known; batches of nothing else are left
                out.
        """
        order = Order("rewards", (prompts, responses), len(responses))
        yield from answers_here(self, [order], answered)

    def plan_rewards(self, prompts: Sequence[Messages], responses: Sequence[str]) -> Plan[Tensor]:
        """The batches of objectives."""
        inputs = [self._encode(*item) for item in zip(prompts, responses, strict=True)]
        check_known((one["input_ids"] for one in inputs), self._known)
        # The longest first: memory that does not suffice is found out at once.
        order = sorted(range(len(inputs)), key=lambda n: -len(inputs[n]["input_ids"]))
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

        def compute(numbers: Sequence[int], known: Set[int]) -> Iterator[list[tuple[int, Tensor]]]:
            for part in map(parts.__getitem__, numbers):
                yield list(zip(part, self._logits([inputs[n] for n in part]), strict=True))

        return Plan(parts, compute)

    def _encode(self, prompt: Messages, response: str) -> dict[str, Any]:
        shape = {"truncation": True, "max_length": self._longest}
        if self._chat is None:
            asked = "\n".join(content for _, content in prompt)
            return dict(self._tokenizer(asked, response, **shape))
        text = _written(self._name, self._chat, prompt, response)
        return dict(self._tokenizer(text, add_special_tokens=False, **shape))

    @torch.inference_mode()
    def _logits(self, inputs: list[dict[str, Any]]) -> Tensor:
        padded = {
            name: pad_sequence(
                [torch.tensor(one[name]) for one in inputs],
                batch_first=True,
                padding_value=self._pad if name == "input_ids" else 0,
            ).to(self._device)
            for name in inputs[0]
        }
        head = getattr(self._model, "score", None)
        if head is None or getattr(self._model.config, "is_encoder_decoder", False):
            logits = self._model(**padded).logits
        else:
            # Read where the text ends. The model's own way, before the first padding token, misses
            # it where that is also the token that ends a turn.
            states = self._model.base_model(**padded).last_hidden_state
            last = padded["attention_mask"].sum(1) - 1
            logits = head(states[torch.arange(len(inputs), device=self._device), last])
        rated: Tensor = logits.float().cpu()
        return rated


def load_reward_model(
    found: RewardModelFiles, dtype: str, date: str, options: EngineOptions
) -> RewardModel:
    """A reward model on the device that an engine would take.

    Args:
        dtype, date: as for :class:`RewardModel`.
    """
    return RewardModel(found, torch_device(options.device), dtype, date)


def check_prompts(found: RewardModelFiles, prompts: Iterable[Messages], date: str = DATE) -> None:
    """Tries the reward model's chat template on prompts, one of each sequence of roles.

    Raises:
        BadInput: it refuses one, so that no answer to it could be rated.
    """
    template = read_chat_template(found.files.folder)
    if template is None:
        return
    chat = Chat(load_tokenizer(found.files.folder, False), template, date)
    kinds = {tuple(role for role, _ in prompt): prompt for prompt in prompts}
    for prompt in kinds.values():
        _written(found.files.name, chat, prompt, "Yes.")


def _written(name: str, chat: Chat, prompt: Messages, response: str) -> str:
    messages = [
        {"role": role, "content": content} for role, content in (*prompt, ("assistant", response))
    ]
    try:
        return chat.write(messages, False)
    except TemplateFault as fault:
        roles = ", ".join(role for role, _ in prompt)
        raise BadInput(
            f"the reward model {name} cannot rate answers to prompts of {roles}: its chat template "
            f"{fault}; leave such rows out, or take another reward model."
        ) from fault


def _load(found: RewardModelFiles, dtype: str) -> Any:
    import transformers
    from transformers import AutoModelForSequenceClassification

    files = found.files
    transformers.utils.logging.disable_progress_bar()
    armorm = ARMORM in (files.config.get("architectures") or ())
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(files.folder),
            dtype=getattr(torch, dtype) if dtype != "auto" else "auto",
            num_labels=len(found.objectives),
            # ArmoRM's own code is left alone: a Llama with a linear head is what it comes to.
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **({"key_mapping": {f"^{ARMORM_HEAD}": "score"}} if armorm else {}),
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # config and weights come from anywhere
        first = first_line(error).rstrip(".")
        raise BadInput(
            f"the reward model {files.name} cannot be loaded as a sequence classifier ({first}); "
            "give one that transformers knows without code of its own."
        ) from error
    lacking = sorted(chain(info["missing_keys"], (str(k[0]) for k in info["mismatched_keys"])))
    if lacking:
        raise BadInput(
            f"the reward model {files.name} lacks {len(lacking)} weights of a "
            f"{type(model).__name__} (the first is {lacking[0]}); give a whole checkpoint."
        )
    return model
