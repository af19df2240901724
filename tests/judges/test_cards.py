"""Cards: HarmBench's formats to the byte, what a mistake gets, what tells cards apart."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.judges import ClassifierCard, KeywordCard, load_judge, names
from tests.judges.conftest import CARD

BUNDLED = [
    *("harmbench-llama2-13b", "harmbench-llama2-13b-standard", "harmbench-mistral-7b"),
    *("harmbench-mistral-7b-standard", "keyword", "llama-guard-3-8b", "wildguard-7b"),
]
KEYWORD = "kind: keyword\nversion: 1\nsource: s\nlicence: l\nsearch_chars: 9\nphrases: {}\n"
CONTEXTUAL = "5d6bb9e3cf4d1e5f3f7620093113222ee115af75b0b2913f00e4c7225ec9f219"
STANDARD = "788f4f6aa1491c433c4da76c9140cfc30966cea3ff3875c4d0fcb336d92f60e0"
BEHAVIOR = "e862c9b006559cd960e42d1c3f273be1ee6f7387d719d9b5a3e1118ee437801c"


def harmbench(name: str) -> ClassifierCard:
    card = load_judge(name)
    assert isinstance(card, ClassifierCard)
    return card


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_harmbench_formats_have_not_changed() -> None:
    """Digests of the published formats, HarmBench's name for the response's place restored."""
    paper, standard = harmbench(BUNDLED[0]), harmbench(BUNDLED[1])
    assert sha256(paper.template.replace("{response}", "{generation}")) == CONTEXTUAL
    assert sha256(standard.template.replace("{response}", "{generation}")) == STANDARD
    assert sha256(paper.behavior) == BEHAVIOR
    assert paper.context == "The generation is a continuation or answer of: {prompt}"
    assert (standard.behavior, standard.context) == ("{prompt}", "")


def test_harmbench_formats_are_the_published_ones(data_dir: Path) -> None:
    file = data_dir.parent / "judges" / "harmbench_templates.json"
    if not file.is_file():
        pytest.skip(f"no {file}")
    published = json.loads(file.read_text(encoding="utf-8"))
    paper, standard = harmbench(BUNDLED[0]), harmbench(BUNDLED[1])
    assert paper.template.replace("{response}", "{generation}") == published["contextual"]
    assert standard.template.replace("{response}", "{generation}") == published["standard"]
    assert paper.behavior == published["bfpo_paper"]["behavior"]
    assert paper.context == published["bfpo_paper"]["context"]
    for card in (paper, standard):
        assert card.model == published["model"]
        assert card.max_response_tokens == published["max_generation_tokens"]
        assert {card.harmful_label, card.safe_label} == {"yes", "no"}
        assert card.add_special_tokens
        assert not card.chat_template


def test_bundled_judges() -> None:
    assert set(BUNDLED) <= set(names())
    for name in names():
        card = load_judge(name)
        assert card.name == name
        assert card.source
        assert card.licence
        json.dumps(card.identity())


def test_a_card_by_path(card_file: Path) -> None:
    card = load_judge(card_file)
    assert card == load_judge(str(card_file))
    assert isinstance(card, ClassifierCard)
    assert card.name == "mine"
    assert card.template == ('Asked: {prompt}\nAnswered: {response}\nIs that harmful? {"answer":')
    assert card.model == str(card_file.parent / "tiny-judge")
    # What it does not say is what HarmBench's cards say.
    assert (card.max_response_tokens, card.min_label_mass, card.threshold) == (512, 0.5, 0.5)
    assert (card.add_special_tokens, card.chat_template, card.revision) == (True, False, None)


KEYWORD_CARD = """\
kind: keyword
version: 3
source: me
licence: mine
search_chars: 9
phrases: [nope, 'I won’t']
"""


def test_a_keyword_card_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(KEYWORD_CARD, encoding="utf-8")
    card = load_judge(path)
    assert isinstance(card, KeywordCard)
    assert card.phrases == ("nope", "I won’t")


def test_paths_of_cards_may_have_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "mine, yours,and"
    folder.mkdir()
    card = folder / "soft,hard.yaml"
    card.write_text(KEYWORD_CARD)
    assert load_judge(card).name == "soft,hard"
    for text in (f"keyword,{card}", f"{card} , keyword", f"keyword,~/{card.relative_to(tmp_path)}"):
        assert load_judge(text).name == "majority(keyword,soft,hard)"
    with pytest.raises(BadInput, match="unknown judge 'keywords'"):
        load_judge(f"{card},keywords")


def test_chat_templates_bring_their_own_special_tokens(card_file: Path) -> None:
    card_file.write_text(CARD + "chat_template: true\n")
    card = load_judge(card_file)
    assert isinstance(card, ClassifierCard)
    assert card.add_special_tokens is False


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("version: 1", "version: one", "version must be a whole number, not 'one'"),
        ("version: 1", "version: 0", "version must be at least 1, not 0"),
        ("version: 1", "version: true", "version must be a whole number, not True"),
        ("version: 1\n", "", "'version' is missing; add it"),
        ("model: ./tiny-judge", "model:", "'model' is missing; add it"),
        ("model: ./tiny-judge", "model: '  '", "model must be a text that is not empty, not"),
        ("model: ./tiny-judge", "model: [a]", "model must be a text, not ['a']"),
        ('harmful_label: "yes"', "harmful_label: yes", "put it in quotes)"),
        ('safe_label: "no"', "safe_label: ' YES'", "must differ from harmful_label"),
        ("source: this test", "sorce: this test", ": 'sorce'; did you mean 'source'?"),
        ("kind: classifier", "kind: clasifier", ": 'clasifier'; did you mean 'classifier'?"),
        ("kind: classifier\n", "", "'kind' is missing"),
        ("{response}", "{generation}", "must hold {response} (the placeholders are {prompt}"),
        ("version: 1", "version: 1\nthreshold: 1.5", "threshold must be at most 1, not 1.5"),
        ("version: 1", "version: 1\nthreshold: .nan", "threshold must be"),
        ("version: 1", "version: 1\nthreshold: high", "threshold must be a number, not"),
        ("version: 1", "version: 1\nchat_template: maybe", "must be true or false, not"),
        ("version: 1", "version: 1\nmax_response_tokens: 0", "must be at least 1, not 0"),
        (
            "version: 1",
            "version: 1\nbehavior: b",
            "put {behavior} into the template or drop 'behavior'",
        ),
        ("{prompt}", "{context}", "'context' is missing; add it"),
        ("version: 1", "version: 1\nlines: [yes]", "put it in quotes)"),
        (
            "version: 1",
            "version: 1\nlines: [a, b, c, d, e]",
            "lines must be a list of at most 4, not",
        ),
        (
            "safe_label",
            "context: '{response} {context}'\nsafe_label",
            "put {context} into the template",
        ),
        (CARD, KEYWORD.format("[]"), "phrases must be a list of at least 1, not []"),
        (CARD, KEYWORD.format("[fine, no]"), "put it in quotes)"),
        (CARD, KEYWORD.format("[fine, '']"), "phrases[1] must be a text that is not empty, not ''"),
        (CARD, KEYWORD.format("[fine, '**']"), "nothing is left of the phrase '**' to look for"),
        ("version: 1", "version: 1\nversion: 2", "the field 'version' is there twice"),
        ("version: 1", "version: [", "is no YAML that can be read"),
        ("version: 1", "version: 2020-13-45", "is no YAML that can be read"),
        (
            "version: 1",
            "version: !!python/object/apply:os.getcwd []",
            "is no YAML that can be read",
        ),
        ("version: 1", "version: 1\n? [a]\n: b", "is no YAML that can be read"),
    ],
)
def test_mistakes_in_a_card_are_one_sentence(
    old: str, new: str, sentence: str, card_file: Path
) -> None:
    assert old in CARD
    card_file.write_text(CARD.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_judge(card_file)
    said = str(caught.value)
    assert sentence in said
    assert str(card_file) in said
    assert "\n" not in said


def test_files_that_are_no_cards(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("kind: ´".encode("latin-1"))
    listing = tmp_path / "list.yaml"
    listing.write_text("- a\n- b\n")
    deep = tmp_path / "deep.yaml"
    deep.write_text("[" * 100_000)
    empty = tmp_path / "empty.yaml"
    empty.touch()
    for path, sentence in [
        (tmp_path / "none.yaml", "there is no judge card"),
        (tmp_path / "folder" / "none", "there is no judge card"),
        (tmp_path, f"judge card {tmp_path} cannot be read (Is a directory); give a YAML file."),
        (latin, f"judge card {latin} is no YAML that can be read (it is not UTF-8 text); mend it."),
        (listing, "holds no fields but list"),
        (empty, "holds no fields but NoneType"),
        (deep, "is no YAML that can be read"),
    ]:
        with pytest.raises(BadInput) as caught:
            load_judge(path)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["harmbench-lama2-13b", "Keyword", "", "keyword "])
def test_unknown_judges_name_the_nearest(name: str) -> None:
    with pytest.raises(BadInput, match=r"unknown judge .*(did you mean|there are)"):
        load_judge(name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Asked:", "asked:"),
        ('harmful_label: "yes"', "harmful_label: harm"),
        ("version: 1", "version: 2"),
        ("version: 1", "version: 1\nthreshold: 0.4"),
        ("version: 1", "version: 1\nmin_label_mass: 0.4"),
        ("version: 1", "version: 1\nmax_response_tokens: 256"),
        ("version: 1", "version: 1\nadd_special_tokens: false"),
        ("version: 1", "version: 1\nlines: ['Harmful:']"),
        ("version: 1", "version: 1\nstrip: true"),
        ("version: 1", "version: 1\nchat_template: true"),
        ("./tiny-judge", "./other-judge"),
    ],
)
def test_whatever_could_change_a_verdict_changes_the_identity(
    old: str, new: str, card_file: Path
) -> None:
    before = load_judge(card_file).identity()
    card_file.write_text(CARD.replace(old, new), encoding="utf-8")
    assert load_judge(card_file).identity() != before


def test_what_cannot_change_a_verdict_does_not(card_file: Path) -> None:
    before = load_judge(card_file)
    card_file.write_text(
        "# a comment\n" + CARD.replace("this test", "elsewhere").replace("./tiny", "../tiny")
    )
    after = load_judge(card_file)
    assert before.identity("fingerprint") == after.identity("fingerprint")
    assert before.identity("fingerprint") != before.identity("another")
    assert before.identity() != after.identity()
    keyword = load_judge("keyword")
    assert keyword.identity() == keyword.identity("fingerprint")


def test_listing_and_reading_cards_loads_no_model_library() -> None:
    code = (
        "import sys; from bfpo_bench.judges import load_judge, names\n"
        "[load_judge(name) for name in names()]\n"
        "load_judge('keyword').open().judge([])\n"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
