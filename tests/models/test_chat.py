"""Chat templates are programs of other people: they end in time and memory."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.engines.tokenization import load_tokenizer
from bfpo_bench.models import chat
from bfpo_bench.models.chat import Chat

USER = [{"role": "user", "content": "Hi"}]

DOUBLED = (
    "{% set n = namespace(x=['x']) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}"
)
BOMBS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "power": "{{ (10 ** (10 ** 8)) is odd }}",
    "power of a message": "{% set n = messages | length * 10 %}{{ (n ** (n ** 8)) is odd }}",
    "text": "{{ 'x' * 10 ** 11 }}",
    "width": "{{ '{:>99999999999}'.format('x') }}",
    "doubled": DOUBLED,
    "joined": DOUBLED.replace("60", "20") + "{% set y = 'x' * 10 ** 6 %}{{ n.x | join(y) }}",
    "output": "{% for i in range(99999) %}{{ 'x' * 20 }}{% endfor %}",
}
"""Each would take hours or tens of gigabytes, in many steps or in a single one; the last, megabytes
for every prompt."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_ends_in_time_and_memory(
    name: str, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 0.2)
    monkeypatch.setattr(chat, "MEMORY", 1 << 28)
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    begun = time.process_time()
    with pytest.raises(BadInput) as caught:
        Chat(load_tokenizer(tiny_llama), BOMBS[name] + "{{ messages[0]['content'] }}")(USER)
    assert time.process_time() - begun < 5
    said = (
        "goes on for more than 0.2 s of computing",
        "takes gigabytes of memory",
        "writes 2,000,002 characters, more than 1,000,088",
    )
    hint = "give another one with --chat-template FILE, or never."
    assert str(caught.value) in [f"the chat template {why}; {hint}" for why in said]
    assert resource.getrlimit(resource.RLIMIT_DATA) == limit
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
