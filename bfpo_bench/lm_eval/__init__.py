"""The transformers engine under the name ``bfpo-hf`` for lm-evaluation-harness.

Importing this module registers it. lm-eval 0.4.13 finds models only among those that were imported
before its command line is read, so ``python -m bfpo_bench.lm_eval`` imports it and goes on as
lm-eval.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.registry import register_model

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.hf.engine import HFEngine
from bfpo_bench.engines.protocol import EngineOptions
from bfpo_bench.models.adapters import find_adapter
from bfpo_bench.models.checkpoint import find_tokenizer
from bfpo_bench.models.config import find_causal_model


@register_model("bfpo-hf")
class PackedHF(HFEngine):
    """lm-eval's ``hf`` with what requests have in common computed once.

    Args:
        pretrained: folder of a causal model, or its hub id.
        tokenizer: folder or hub id of another tokenizer.
        peft: folder or hub id of an adapter, merged into the weights.
        revision: commit, tag or branch of a hub model.
        dtype: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        device: ``"cuda"``, ``"cuda:1"``, ``"cpu"``, …; None takes a GPU where there is one.
        batch_size: sequences generated at once, as lm-eval understands it (a number, ``"auto"``,
            ``"auto:N"``). Batches of log-likelihoods are planned from the memory at hand.
        max_batch_size: most sequences that ``"auto"`` tries.
        max_length: context window in tokens.
        trust_remote_code: run code that comes with the checkpoint.

    Raises:
        BadInput: the model or tokenizer cannot be had, or another argument is given.
    """

    def __init__(
        self,
        pretrained: str,
        tokenizer: str | None = None,
        peft: str | None = None,
        revision: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int = 64,
        max_length: int | None = None,
        trust_remote_code: bool = False,
        **others: Any,
    ) -> None:
        if others:
            raise BadInput(
                f"bfpo-hf does not take {', '.join(sorted(others))}; leave it out, or use "
                "lm-eval's own --model hf."
            )
        model = find_causal_model(str(pretrained), revision, "hf", trust_remote_code)
        adapter = None if peft is None else find_adapter(str(peft), model)
        super().__init__(
            EngineOptions(
                model=str(model.folder),
                tokenizer=None
                if tokenizer is None
                else str(find_tokenizer(str(tokenizer), trust_remote_code)),
                adapter=None if adapter is None else str(adapter.folder),
                dtype=dtype,
                device=device or "auto",
                max_length=max_length,
                trust_remote_code=trust_remote_code,
            )
        )
        number, _, schedule = str(batch_size).partition(":")
        # These are what lm-eval's own generation goes by.
        self.batch_size_per_gpu = number if number == "auto" else int(number)
        self.batch_schedule = float(schedule or 1)
        self.max_batch_size = max_batch_size
