"""What a model really sees: real models' templates (written anew in their manner), and odd ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.sampling import Sampling
from bfpo_bench.engines.protocol import GenerateRequest
from bfpo_bench.engines.tokenization import encode, encode_prompts, load_tokenizer
from bfpo_bench.evaluation.chat_prompts import BARE, ChatPrompts
from bfpo_bench.evaluation.options import EvaluateOptions
from bfpo_bench.models.chat import Chat, TemplateFault
from tests.training.toy_tokenizers import CHATML, MISTRAL, ZEPHYR, byte_level

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: {% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""In the manner of SmolVLM and Idefics 3: iterating over a text would write nothing."""

BOTH = PARTS.replace(
    "{% for part in m['content'] %}",
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}",
).replace("{% endif %}{% endfor %}<|im_end|>", "{% endif %}{% endfor %}{% endif %}<|im_end|>")
"""In the manner of Qwen2-VL: takes both."""

TEXT_AND_PARTS = PARTS.replace(
    "{% for m in messages %}",
    "{% if messages[0].role == 'system' %}<<{{ messages[0]['content'] + '>>' }}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}",
    1,
)
"""The system's as a text, the others' as parts."""

NO_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}[{{ m.role }}] {{ m.content }}{% endfor %}"
)
LATE_BOS = "\n {{ bos_token }}[INST] {{ messages[-1]['content'] }} [/INST]"
USER: list[dict[str, str]] = [{"role": "user", "content": " How are you?\n"}]
SYSTEM: list[dict[str, str]] = [{"role": "system", "content": "Be kind."}, *USER]


@pytest.mark.parametrize(
    "template", [CHATML, ZEPHYR, BOTH, GEMMA, MISTRAL, PARTS, TEXT_AND_PARTS, LATE_BOS]
)
def test_a_prompt_is_what_transformers_writes_and_tokenises(template: str) -> None:
    tokenizer = byte_level(begins_with_bos=True)
    text = Chat(tokenizer, template)(USER)
    assert "How are you?" in text
    takes_parts = template in (PARTS, TEXT_AND_PARTS)
    content: Any = [{"type": "text", "text": USER[0]["content"]}]
    said = [{"role": "user", "content": content}] if takes_parts else USER
    right = {"chat_template": template, "add_generation_prompt": True}
    assert text == tokenizer.apply_chat_template(said, tokenize=False, **right)
    request = GenerateRequest(text, Sampling(4), 0, special_tokens=False)
    [ids] = encode_prompts(tokenizer, [request])
    assert ids == tokenizer.apply_chat_template(said, return_dict=False, **right)
    assert ids.count(tokenizer.bos_token_id) == template.count("bos_token")


@pytest.mark.parametrize("template", [CHATML, ZEPHYR, BOTH, PARTS, TEXT_AND_PARTS])
def test_system_prompts_stand_in_the_prompt(template: str) -> None:
    chat = Chat(byte_level(), template)
    for texts in (chat(SYSTEM), chat.tokenizer.apply_chat_template(
        SYSTEM, chat_template=chat.for_texts(), tokenize=False, add_generation_prompt=True
    )):  # fmt: skip
        assert "Be kind." in texts
        assert " How are you?\n" in texts
    assert chat(SYSTEM) != chat(USER)


@pytest.mark.parametrize(
    ("template", "clause"),
    [
        (NO_SYSTEM, "leaves out or changes what the system says"),
        (GEMMA, "refuses the messages (System role not supported)"),
        (MISTRAL, "refuses the messages (only user and assistant roles)"),
    ],
)
def test_templates_without_a_place_for_a_system_prompt(template: str, clause: str) -> None:
    chat = Chat(byte_level(), template)
    assert "How are you?" in chat(USER)
    with pytest.raises(BadInput) as caught:
        chat(SYSTEM)
    assert str(caught.value) == (
        f"the chat template {clause}; it may not take a system prompt: leave --system-prompt out."
    )


@pytest.mark.parametrize(
    ("template", "clause"),
    [
        ("Hello! {{ bos_token }}", "leaves out or changes what the user says"),
        ("{{ messages[0].content[:8] }}", "leaves out or changes what the user says"),
        ("{{ messages[0].content | upper }}", "leaves out or changes what the user says"),
        ("{% set x = 1 %}", "writes nothing at all"),
        ("{{ messages[0].content }}{{ [1, 2] | random }}", "draws by chance (| random)"),
        ("{{ messages[0].content }}{{ lipsum() }}", "draws by chance (lipsum()"),
        ("{% for", "refuses the messages (unexpected 'end of template')"),
        ("{{ raise_exception('no one speaks') }}", "refuses the messages (no one speaks)"),
        ("{{ messages + 1 }}", "refuses the messages"),
        ("{{ 1 // 0 }}", "refuses the messages"),
    ],
)
def test_templates_that_do_not_show_the_prompt(template: str, clause: str) -> None:
    with pytest.raises(BadInput) as caught:
        Chat(byte_level(), template)(USER)
    assert str(caught.value).startswith(f"the chat template {clause}")
    assert str(caught.value).endswith("; give another one with --chat-template FILE, or never.")


def test_a_prompt_that_a_template_changes() -> None:
    chat = Chat(byte_level(), "{{ messages[0].content | replace('kind', '') | trim }}")
    assert chat(USER) == "How are you?"
    with pytest.raises(TemplateFault) as caught:
        chat.write([{"role": "user", "content": "Be kind. " + "x" * 80}])
    assert str(caught.value) == (
        f"leaves out or changes what the user says ('Be kind. {'x' * 50}…')"
    )


def test_prompts_are_looked_at_before_a_model_is_loaded(tiny_llama: Path, tmp_path: Path) -> None:
    """All of them: what is wrong with the last one is not found out after hours."""
    from bfpo_bench.evaluation.resolve import resolve
    from bfpo_bench.tasks.requests import render

    options = EvaluateOptions(model=str(tiny_llama), suite="mini", tasks=("advbench",), limit=3)
    request = resolve(options)
    last = render(request.tasks, request.target.chat())[0].questions[-1]
    word = max(last.split(), key=len)
    chat = Chat(
        load_tokenizer(tiny_llama), f"{{{{ messages[0].content | replace({word!r}, '') }}}}"
    )
    with pytest.raises(BadInput, match="leaves out or changes what the user says"):
        render(request.tasks, chat)


def test_special_tokens_are_the_templates_own(tiny_llama: Path, tmp_path: Path) -> None:
    own = load_tokenizer(tiny_llama).chat_template
    prompts = [ChatPrompts(tiny_llama, t) for t in (own, own.replace("{{ bos_token }}", ""))]
    # As in version 0.1, and told so by nothing; or one BOS less, and told.
    assert [set(one.identity()) for one in prompts] == [
        {"chat_template"},
        {"chat_template", "special_tokens"},
    ]
    assert [one.marks for one in prompts] == [[], [BARE]]
    tokenizer = prompts[0].chat.tokenizer
    text = prompts[1].chat(USER)
    ids = [
        encode_prompts(tokenizer, [GenerateRequest(text, Sampling(4), 0, special_tokens=special)])[
            0
        ]
        for special in (True, False)
    ]
    assert ids[0] == [tokenizer.bos_token_id, *ids[1]] == encode(tokenizer, text)


def test_engines_are_told_of_prompts_from_a_template(tiny_llama: Path, tmp_path: Path) -> None:
    from bfpo_bench.evaluation.resolve import resolve
    from bfpo_bench.tasks.requests import render

    special = {}
    for choice in ("auto", "never"):
        options = EvaluateOptions(
            model=str(tiny_llama), suite="mini", tasks=("gen",), limit=1, chat_template=choice,
            judge="keyword",
        )  # fmt: skip
        request = resolve(options)
        planned = render(request.tasks, request.target.chat())
        special[choice] = {task.name: task.prompts[0].special_tokens for task in planned}
    # RealToxicityPrompts are texts to go on with, in no template.
    assert special["auto"] == {
        "bfpo_advbench": False, "bfpo_realtoxicityprompts": True, "bfpo_alert": False,
        "bfpo_alert_adversarial": False,
    }  # fmt: skip
    assert set(special["never"].values()) == {True}


def test_a_model_that_version_01_trained_with_another_beginning(
    tiny_llama: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    from bfpo_bench.evaluation.chat_prompts import UNTAUGHT
    from bfpo_bench.evaluation.target import find_target

    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    template = load_tokenizer(tiny_llama).chat_template.replace("{{ bos_token }}", "")
    (model / "chat_template.jinja").write_text(template)
    options = EvaluateOptions(model=str(model))
    marks = []
    for record in (None, {"method": "bfpo"}, {"special tokens": "as the template writes them"}):
        if record is not None:
            (model / "training.json").write_text(json.dumps(record))
        marks.append(find_target(options, "hf").chat_marks)
    assert marks == [[BARE], [BARE, UNTAUGHT], [BARE]]


def test_a_template_in_the_place_of_older_processors(tiny_llama: Path, tmp_path: Path) -> None:
    """The tokenizer that everything renders with knows it, too."""
    import json
    import shutil

    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    template = load_tokenizer(tiny_llama).chat_template
    (model / "chat_template.jinja").unlink()
    assert load_tokenizer(model).chat_template is None
    (model / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load_tokenizer(model).chat_template == template


def test_half_a_surrogate_pair_is_told(tmp_path: Path) -> None:
    from bfpo_bench.data.files import Record, text, texts

    row = Record("f.jsonl, line 3", {"a": "ab\ud83d", "b": ["x", "\udc00"], "c": "😀"})
    assert text(row, "c") == "😀"
    for name, place, read in (("a", 2, text), ("b", 0, texts)):
        with pytest.raises(BadInput) as caught:
            read(row, name)  # type: ignore[operator]
        assert str(caught.value) == (
            f"f.jsonl, line 3: field {name!r} holds half a surrogate pair at character {place}, "
            "which is no Unicode text; fetch the file again."
        )
    with pytest.raises(BadInput) as caught:
        EvaluateOptions(model="m", system_prompt="Be \udcff kind.")
    assert str(caught.value) == (
        "--system-prompt is no Unicode text at character 3 (half a surrogate pair, or a byte that "
        "is no UTF-8); write it again."
    )
    with pytest.raises(BadInput, match=r"refuses the messages \('utf-8' codec can't encode"):
        Chat(byte_level(), "{{ messages[0].content }}{{ '\\ud800' }}")(USER)
