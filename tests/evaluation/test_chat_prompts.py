"""What a target's chat prompts depend on is found out once, and remembered under all of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bfpo_bench.evaluation.chat_prompts import ChatPrompts
from bfpo_bench.models.chat import Chat

CLOCK = "{{ bos_token }}{{ strftime_now('%d %B %Y') }} {{ messages[-1].content }}"


def test_a_date_is_found_once_and_again_where_anything_changes(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rendered: list[str] = []
    date = Chat.date

    def counted(chat: Chat, system_prompt: str | None = None) -> str | None:
        rendered.append(str(system_prompt))
        return date(chat, system_prompt)

    monkeypatch.setattr(Chat, "date", counted)
    prompts = ChatPrompts(tiny_llama, CLOCK, "2026-03-01")
    first = prompts.identity()
    assert first["date"] == "2026-03-01"
    # Another object of the same content, in a later process say.
    assert replace(prompts).identity() == first
    assert len(rendered) == 1
    assert replace(prompts, date="2026-03-02").identity()["date"] == "2026-03-02"
    without = replace(prompts, template=CLOCK.replace("strftime_now('%d %B %Y')", "''"))
    assert "date" not in without.identity()
    assert len(rendered) == 3
    other = tmp_path / "tokenizer"
    shutil.copytree(tiny_llama, other)
    (other / "added_tokens.json").write_text("{}")
    replace(prompts, tokenizer=other).identity()
    assert len(rendered) == 4
