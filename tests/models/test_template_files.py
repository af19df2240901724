"""The chat template that a folder means, wherever it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.evaluation.chat_prompts import choose_template
from bfpo_bench.models.template_files import chat_templates, read_chat_template


def test_chat_template_from_either_place(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    config = {"chat_template": [{"name": "default", "template": "A"}, {"name": "x"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_chat_template(tmp_path) == "A"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "B"}))
    assert read_chat_template(tmp_path) == "B"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "P"}))
    assert read_chat_template(tmp_path) == "B"
    (tmp_path / "chat_template.jinja").write_text("C")
    assert read_chat_template(tmp_path) == "C"


def test_chat_templates_by_name(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "P"}))
    assert read_chat_template(tmp_path) == "P"
    (tmp_path / "chat_template.json").unlink()
    config = {"chat_template": [{"name": "tool_use", "template": "T"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("R")
    assert chat_templates(tmp_path) == {"tool_use": "T", "rag": "R"}
    with pytest.raises(BadInput) as caught:
        read_chat_template(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has chat templates named 'tool_use', 'rag' and none named 'default'; choose "
        "one of them with --chat-template NAME, or save the one that is meant as "
        "chat_template.jinja there."
    )
    assert choose_template("rag", tmp_path) == "R"
    with pytest.raises(BadInput) as caught:
        choose_template("ragg", tmp_path)
    assert str(caught.value).endswith(
        "give auto, never, the path of a Jinja file, or one of the names tool_use, rag."
    )
    (tmp_path / "chat_template.jinja").write_text("C")
    assert read_chat_template(tmp_path) == "C"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", b"\xff\xfe{"),
        ("tokenizer_config.json", b"{"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"chat_template": ["x"]}'),
        ("tokenizer_config.json", b'{"chat_template": "\\ud800"}'),
        ("chat_template.json", b"{"),
    ],
)
def test_chat_templates_that_cannot_be_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_chat_template(tmp_path)
    assert f"no chat template can be read from {tmp_path / name} (" in str(caught.value)
    assert str(caught.value).endswith(
        "); copy the file again, or name a template with --chat-template."
    )
