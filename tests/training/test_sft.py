"""Supervised fine-tuning and the dry run, on real preference data and a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.progress import Progress
from bfpo_bench.training.conversation_sets import ConversationSet
from bfpo_bench.training.data.chat import attribute_line, attributes_of, load_conversations
from bfpo_bench.training.data.preferences import Pair, PreferenceRecord
from bfpo_bench.training.data.tokenize import tokenize_conversations, tokenize_pairs
from bfpo_bench.training.dry_run import dry_run
from bfpo_bench.training.recipe import Recipe
from bfpo_bench.training.recipe_file import load_recipe
from bfpo_bench.training.recipe_parts import DataRecipe
from bfpo_bench.training.sft import prepare_sft
from bfpo_bench.training.train import train
from tests.training.conftest import Mine, plain_logprob
from tests.training.toy_tokenizers import ENDLESS, MISTRAL, ZEPHYR, byte_level

RECIPE = """
method: sft
kind: sft
precision: fp32
layers: [mlp.down_proj]
data: [{{name: saferlhf, pairs: safe, files: ["{file}"]}}]
tokens: {{max_length: 256, max_prompt: 128, chat_template: zephyr}}
optimization: {{learning_rate: 1e-3, pairs_per_update: 8, per_device_train_batch_size: 4,
  num_train_epochs: 2}}
"""


def recipe_for(folder: Path, file: Path, base: Path) -> Recipe:
    path = folder / "sft.yaml"
    path.write_text(RECIPE.format(file=file), encoding="utf-8")
    return load_recipe(str(path), base=str(base))


def chats(folder: Path, rows: list[object]) -> DataRecipe:
    path = folder / "chats.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return DataRecipe(name="chats", pairs="chat", files=(str(path),))


def said(*texts: str) -> dict[str, object]:
    roles = ["user", "assistant"] * len(texts)
    return {"messages": [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]}


def test_an_update_is_the_mean_over_tokens_by_their_weights(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """Of accumulated batches together; of earlier turns and of prompts every token weighs 1.

    What is held out weighs alike: here the same conversations, which is told.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [
        said("hi", "hello", f"clean lamp {i} ?", "gently with " + "water " * i) for i in range(5)
    ]
    rows.append(said("hello", "no") | {"segment_weights": [[0, 2, 0]]})
    more = """precision: fp32
optimization: {max_steps: 1, learning_rate: 1e-12, pairs_per_update: 6,
  per_device_train_batch_size: 2}"""
    emphasis, data = "{words: 1, weight: 3, rest: 0.5}", chats(tmp_path, rows)
    same = f"{{name: held, pairs: chat, files: [{data.files[0]}], emphasis: {emphasis}}}"
    changes = [f"data.0.emphasis={emphasis}", f"eval={{data: [{same}]}}"]
    path = _write(tmp_path, data, more)
    recipe = load_recipe(path, changes, base=str(tiny_llama))
    record = train(recipe, tmp_path / "out", device="cpu")
    assert [note[:45] for note in record["notes"]] == [
        "6 of the 6 held-out conversations of set 'hel"
    ]
    one = prepare_sft(recipe, Progress(show=False)).sets[0]
    assert isinstance(one, ConversationSet)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    total = count = 0.0
    for index, (ids, weights) in enumerate(zip(one.tokens, one.weights, strict=True)):
        assert weights is not None
        words = {w: tokenizer.decode(ids[np.array(weights) == w]).split() for w in (3, 0)}
        if index < 5:
            assert ("".join(words[3]), words[0]) == ("gently", [])
            assert weights[-1] == 0.5
        else:
            assert words[3] == []
            assert words[0][0].startswith("no")
        tensor = torch.tensor(ids.tolist())
        with torch.no_grad():
            logprobs = model(tensor[None]).logits[0, :-1].log_softmax(-1)
        each = logprobs.gather(1, tensor[1:, None])[:, 0] * torch.tensor(weights[1:])
        total, count = total - float(each.sum()), count + sum(weights[1:])
    assert record["curves"][0]["loss"] == pytest.approx(total / count, rel=1e-4)
    [looked] = [entry["eval_loss"] for entry in record["curves"] if "eval_loss" in entry]
    assert looked == pytest.approx(total / count, rel=1e-4)


@pytest.mark.slow
def test_sft_trains_the_selected_layers_on_safer_responses(
    data_dir: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = data_dir / "preference" / "pku_saferlhf_32.json"
    recipe = recipe_for(tmp_path, file, tiny_llama)
    record = train(recipe, tmp_path / "out", device="cpu")
    losses = [entry["loss"] for entry in record["curves"] if "loss" in entry]
    assert len(losses) == record["updates"] == 8
    assert losses[-1] < losses[0]
    before = AutoModelForCausalLM.from_pretrained(tiny_llama).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert moved == {name for name in before if "down_proj" in name}
    # The recipe's template is the model's from now on.
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == f"<|user|>\nHi{tokenizer.eos_token}\n<|assistant|>\n"


def test_the_winner_answers(data_dir: Path) -> None:
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    found, _, bad, _ = load_conversations(DataRecipe("saferlhf", "safe", (str(file),)), seed=0)
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert bad == []
    assert [c[-1] for c in found] == [
        ("assistant", row[f"response_{row['safer_response_id']}"]) for row in rows
    ]


def test_conversations_of_a_chat_file(tmp_path: Path) -> None:
    wanted = chats(tmp_path, [said("a", "b"), said("c", "d", "e", "f")])
    found, *_ = load_conversations(wanted, seed=0)
    assert found[0] == (("user", "a"), ("assistant", "b"))
    assert [role for role, _ in found[1]] == ["user", "assistant"] * 2


def test_rows_that_are_no_conversations(tmp_path: Path) -> None:
    wanted = chats(tmp_path, [said("a", "b"), said("c"), {"text": "d"}])
    with pytest.raises(
        BadInput,
        match=r"2 of the 3 rows of set 'chats' cannot.*line 2: a conversation goes from the user",
    ):
        load_conversations(wanted, seed=0)
    lenient = DataRecipe("chats", "chat", wanted.files, skip_bad_rows=True)
    found, _, bad, _ = load_conversations(lenient, seed=0)
    assert (len(found), len(bad)) == (1, 2)
    with pytest.raises(BadInput, match="holds no conversation that can be used"):
        load_conversations(
            DataRecipe("chats", "chat", chats(tmp_path, [said("c")]).files, skip_bad_rows=True), 0
        )


def test_a_smaller_limit_is_a_part_of_a_larger_one(tmp_path: Path) -> None:
    files = chats(tmp_path, [said(str(i), "x") for i in range(30)]).files
    some, more = (
        load_conversations(DataRecipe("chats", "chat", files, limit=limit), seed=3)[0]
        for limit in (5, 12)
    )
    assert len(some) == 5
    assert set(some) < set(more)


def test_the_dry_run_counts_what_would_be_trained(
    data_dir: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    file = data_dir / "preference" / "pku_saferlhf_32.json"
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    trained = sum(n for name, n in sizes.items() if "down_proj" in name)
    recipe = recipe_for(tmp_path, file, tiny_llama)
    text = dry_run(recipe, tmp_path / "out", Progress(show=False))
    assert "saferlhf: 32 conversations" in text
    assert f"{trained:,} of {sum(sizes.values()):,} parameters are trained" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("template", "ends"), [(ZEPHYR, "</s>\n"), (ENDLESS, "Blue\n</s>"), (MISTRAL, "</s>")]
)
def test_a_conversation_begins_and_ends_as_in_preference_pairs(template: str, ends: str) -> None:
    tokenizer = byte_level(begins_with_bos=True)
    asked, answer = (("user", "What colour is the sky?"),), "Blue"
    [ids], cut = tokenize_conversations([(*asked, ("assistant", answer))], tokenizer, template)
    pair = Pair(asked, answer, "Green", None, None, "one")
    [tokens], _ = tokenize_pairs([pair], tokenizer, template=template)
    # Tokens may span the border between prompt and answer here, where the answer is not apart.
    assert tokenizer.decode(ids) == tokenizer.decode([*tokens.prompt, *tokens.chosen])
    assert tokenizer.decode(ids).count("<s>") == template.count("bos_token")
    assert tokenizer.decode(ids).endswith(ends)
    assert cut == 0


def test_long_conversations_are_cut_and_counted(tmp_path: Path, tiny_llama: Path) -> None:
    wanted = chats(tmp_path, [said("a", "b"), said("a", "long " * 100), said("b", "c")])
    more = "tokens: {max_length: 40, max_prompt: 20}\noptimization: {max_steps: 1}\nprecision: fp32"
    recipe = load_recipe(_write(tmp_path, wanted, more), base=str(tiny_llama))
    prepared = prepare_sft(recipe, Progress(show=False))
    assert prepared.sets[0].cut == 1
    assert max(map(len, prepared.sets[0].tokens)) == 40
    text = dry_run(recipe, tmp_path / "out", Progress(show=False))
    tokens = sum(map(len, prepared.sets[0].tokens))
    assert f"c: 3 conversations, {tokens} tokens; cut: 1 at the end" in text
    assert "1 updates of 32 conversations, 2 at once" in text
    chats(tmp_path, [said("a", "b"), said("a", "long " * 100), said("c", "long " * 90)])
    with pytest.raises(BadInput, match=r"2 of 3 conversations of set 'c' .*max_length \(40 tokens"):
        prepare_sft(recipe, Progress(show=False))
    assert prepared.batches(8) == (2, 2)
    with pytest.raises(BadInput, match="update of 32 conversations cannot be split equally over 5"):
        prepared.batches(5)


def test_a_training_that_breaks_leaves_no_model(tmp_path: Path, tiny_llama: Path) -> None:
    wanted = chats(tmp_path, [said(str(i), "b c d") for i in range(4)])
    more = (
        "precision: fp32\nlayers: [mlp.down_proj]\n"
        "optimization: {learning_rate: 1e+37, warmup_ratio: 0, "
        "lr_scheduler_type: constant, max_steps: 4, pairs_per_update: 4}"
    )
    recipe = load_recipe(_write(tmp_path, wanted, more), base=str(tiny_llama))
    with pytest.raises(RunFailed, match=r"stopped being a number at step \d; lower the"):
        train(recipe, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").glob("*.safetensors"))


def _write(folder: Path, wanted: DataRecipe, more: str) -> str:
    path = folder / "t.yaml"
    [file] = wanted.files
    path.write_text(
        f"method: sft\nkind: sft\ndata: [{{name: c, pairs: chat, files: ['{file}']}}]\n{more}\n",
        encoding="utf-8",
    )
    return str(path)


STEERED = """
method: steerlm
kind: sft
precision: fp32
layers: [mlp.down_proj]
attributes: {{helpfulness: 1, safety: 1}}
data: [{{name: pku, pairs: attributes, files: ["{file}"], limit: 8}}]
tokens: {{max_length: 512, max_prompt: 64}}
optimization: {{learning_rate: 1e-3, pairs_per_update: 8, per_device_train_batch_size: 8,
  max_steps: 2}}
"""


@pytest.fixture
def tokenizer(tiny_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def test_attributes_are_what_the_labels_say() -> None:
    record = PreferenceRecord((("user", "?"),), ("a", "b"), 1, (True, None), None, "s", "s:1")
    assert attributes_of(record, 0) == {"helpfulness": 0, "safety": 1}
    assert attributes_of(record, 1) == {"helpfulness": 1}
    assert attribute_line({"helpfulness": 0, "safety": 1}) == "helpfulness: 0, safety: 1"


def test_both_responses_are_learnt_from(data_dir: Path) -> None:
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    found, *_ = load_conversations(DataRecipe("pku", "attributes", (str(file),)), seed=0)
    assert len(found) == 2 * len(rows)
    for n, row in enumerate(rows):
        for k in (0, 1):
            helpful, safe = int(row["better_response_id"] == k), int(row[f"is_response_{k}_safe"])
            assert found[2 * n + k] == (
                ("system", f"helpfulness: {helpful}, safety: {safe}"),
                ("user", row["prompt"]),
                ("assistant", row[f"response_{k}"]),
            )


def test_attributes_stand_before_a_system_message(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]
    row = {"prompt": prompt, "responses": ["a", "b"], "safe": [True, False], "more_helpful": None}
    (tmp_path / "p.jsonl").write_text(json.dumps(row), encoding="utf-8")
    found, *_ = load_conversations(DataRecipe("p", "attributes", (str(tmp_path / "p.jsonl"),)), 0)
    assert [c[0] for c in found] == [
        ("system", "safety: 1\nBe brief."),
        ("system", "safety: 0\nBe brief."),
    ]


def test_a_set_without_labels(tmp_path: Path) -> None:
    row = {"prompt": "?", "responses": ["a", "b"], "safe": [None, None], "more_helpful": None}
    (tmp_path / "p.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(BadInput, match="there are no attributes to learn"):
        load_conversations(DataRecipe("p", "attributes", (str(tmp_path / "p.jsonl"),)), 0)


def test_responses_are_learnt_under_their_own_attributes_alone(
    data_dir: Path, tiny_llama: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """Not under those that the saved template asks for."""
    file = data_dir / "preference" / "pku_saferlhf_32.json"
    (tmp_path / "r.yaml").write_text(STEERED.format(file=file), encoding="utf-8")
    recipe = load_recipe(str(tmp_path / "r.yaml"), base=str(tiny_llama))
    prepared = prepare_sft(recipe, Progress(show=False))
    conversations, *_ = load_conversations(recipe.data[0], recipe.seed)
    for ids, said in zip(prepared.sets[0].tokens, conversations, strict=True):
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in said], tokenize=False
        )
        assert tokenizer.decode(ids) == text
    assert "helpfulness: 1, safety: 1" in (prepared.base.beside.template or "")
    assert prepared.base.tokenizer.chat_template == tokenizer.chat_template


@pytest.mark.slow
def test_a_steered_model_is_asked_like_any_other(
    data_dir: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    file = data_dir / "preference" / "pku_saferlhf_32.json"
    (tmp_path / "r.yaml").write_text(STEERED.format(file=file), encoding="utf-8")
    record = train(
        load_recipe(str(tmp_path / "r.yaml"), base=str(tiny_llama)), tmp_path / "out", device="cpu"
    )
    assert record["data"][0]["pairs"] == 16
    saved = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = saved.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert "helpfulness: 1, safety: 1" in text


def with_safety(mine: Mine, more: str) -> Recipe:
    """Twelve conversations, and safety data beside them."""
    file = "files: [pairs.jsonl]"
    safety = f"{{name: safety, pairs: helpful, {file}, {more}}}"
    return mine("sft", f"data=[{{name: one, pairs: helpful, {file}}}, {safety}]")


def test_a_set_makes_up_its_share_of_all(mine: Mine) -> None:
    """Of twelve conversations beside it three are a fifth of all; fewer are a part of more."""
    drawn = []
    for share, count in ((0.1, 1), (0.2, 3), (0.5, 12)):
        found = prepare_sft(with_safety(mine, f"share: {share}"), Progress(show=False))
        assert found.sizes == [12, count]
        drawn.append({ids.tobytes() for ids in found.sets[1].tokens})  # type: ignore[union-attr]
    assert drawn[0] < drawn[1] < drawn[2]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("share: 0.6", "make up 0.6 of all conversations, which is 18 beside the 12 of the others"),
        ("share: 0.01", "which is 0 beside the 12 of the others, and it has 12; change"),
        (
            "eval 0.999",
            "eval.share 0.999 leaves none of the 12 conversations of set",
        ),
        ("eval 0.001", "eval.share 0.001 holds out none of 12 conversations; raise it"),
    ],
)
def test_shares_that_cannot_be(mine: Mine, key: str, sentence: str) -> None:
    kind, _, value = key.partition(" ")
    recipe = mine("sft", f"eval={{share: {value}}}") if kind == "eval" else with_safety(mine, key)
    with pytest.raises(BadInput, match=sentence):
        prepare_sft(recipe, Progress(show=False))


def test_what_is_held_out_is_looked_at_and_not_trained_on(mine: Mine, tiny_llama: Path) -> None:
    """Its loss is the mean over its tokens, by plain forwards of the model as it was."""
    from transformers import AutoModelForCausalLM

    still = ("optimization.learning_rate=1e-12", "optimization.max_steps=2")
    recipe = mine("sft", "eval={share: 0.4, steps: 1}", *still)
    [one] = prepare_sft(recipe, Progress(show=False)).sets
    trained, held = one.tokens, one.held_out  # type: ignore[union-attr]
    assert len(trained) + len(held) == 12
    assert not {ids.tobytes() for ids in trained} & {ids.tobytes() for ids in held}
    record = train(recipe, Path("out"), device="cpu")
    assert (record["data"][0]["pairs"], record["data"][0]["held_out"]) == (len(trained), len(held))
    model = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    with torch.no_grad():
        logps = [plain_logprob(model, ids[:1].tolist(), ids[1:].tolist()).item() for ids in held]
    known = -sum(logps) / sum(len(ids) - 1 for ids in held)
    found = [entry["eval_loss"] for entry in record["curves"] if "eval_loss" in entry]
    assert found == pytest.approx([known] * 2, rel=1e-5)
