"""SteerLM's template asks for what was trained under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.training.data.steered import steered_template


@pytest.fixture
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def test_the_steered_template_asks_as_training_did(tokenizer: Any) -> None:
    wanted = {"helpfulness": 1, "safety": 1}
    steered = steered_template(tokenizer.chat_template, wanted, tokenizer)
    line = "helpfulness: 1, safety: 1"
    question = {"role": "user", "content": "How?"}
    for own, expected in ((None, line), ("Be brief.", f"{line}\nBe brief.")):
        asked = [question] if own is None else [{"role": "system", "content": own}, question]
        learnt = [{"role": "system", "content": expected}, question]
        assert tokenizer.apply_chat_template(
            asked, chat_template=steered, tokenize=False, add_generation_prompt=True
        ) == tokenizer.apply_chat_template(learnt, tokenize=False, add_generation_prompt=True)


def test_attributes_that_cannot_be_asked_for(tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="unknown attribute 'saftey'; did you mean 'safety'"):
        steered_template(tokenizer.chat_template, {"saftey": 1}, tokenizer)
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}"
    with pytest.raises(BadInput, match="the chat template writes no system message"):
        steered_template(f"{refusing}{{{{ messages[0].content }}}}", {"safety": 1}, tokenizer)
    deaf = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(BadInput, match="the chat template writes no system message"):
        steered_template(deaf, {"safety": 1}, tokenizer)
