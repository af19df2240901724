"""A file that is not what it should be costs one sentence, and nothing is left behind."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bfpo_bench.common.errors import BadInput
from bfpo_bench.export import export_run
from bfpo_bench.imports import import_files
from bfpo_bench.imports.options import ImportOptions
from bfpo_bench.imports.zip_log import LARGEST

from .conftest import EXCHANGES, INSPECT, attacks, completions, written


def changed(
    log: Path, to: Path, change: Callable[[dict[str, Any]], None], part: str = "header.json"
) -> Path:
    """A copy of one of our logs, unpacked, with another header."""
    with zipfile.ZipFile(log) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = json.loads(old.read(name))
            if name.startswith(part):
                change(content)
            new.writestr(name, json.dumps(content))
    return to


def make(kind: str, folder: Path, whole: Path) -> list[Path]:
    """The files of a case."""
    if kind == "nowhere":
        return [folder / "nowhere.json"]
    if kind == "folder":
        return [folder]
    texts = {
        "text": "no JSON",
        "empty": "",
        "unknown": '{\n"a": 1}\n',
        "array": '[{"prompt": "a", "response": "b"}]',
    }
    if kind in texts:
        (folder / f"{kind}.jsonl").write_text(texts[kind])
        return [folder / f"{kind}.jsonl"]
    if kind == "cut":
        (folder / "cut.eval").write_bytes(INSPECT.read_bytes()[:3000])
        return [folder / "cut.eval"]
    if kind == "zip":
        with zipfile.ZipFile(folder / "any.eval", "w") as file:
            file.writestr("a", "b")
        return [folder / "any.eval"]
    if kind in ("bomb", "encrypted", "lzma"):
        way = zipfile.ZIP_LZMA if kind == "lzma" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / "x.eval", "w", way) as file:
            file.writestr("header.json", bytes(1 << 10))
        content = bytearray((folder / "x.eval").read_bytes())
        entry = content.index(b"PK\x01\x02")
        if kind == "bomb":
            content[entry + 24 : entry + 28] = (LARGEST + 1).to_bytes(4, "little")
        if kind == "encrypted":
            content[6] |= 1
            content[entry + 8] |= 1
        if kind == "lzma":
            content[50:60] = b"\xff" * 10
        (folder / "x.eval").write_bytes(content)
        return [folder / "x.eval"]
    if kind in ("no answer", "choices"):
        log = sorted(export_run(whole, "inspect", folder / "logs").path.glob("*advbench*"))[0]

        def spoil(sample: dict[str, Any]) -> None:
            if kind == "choices":
                sample["metadata"]["bfpo_bench"]["verdicts"] = [5]
            else:
                sample["output"]["choices"] = []

        return [changed(log, folder / "x.eval", spoil, "samples/")]
    if kind == "configs":
        sample = {"doc": {}, "arguments": [["a"]], "resps": [["b"]]}
        results = {"results": {}, "configs": ["samples"], "model_name": "m"}
        named = {"samples.jsonl": [sample], "results.json": results}
        return [written(folder / name, content) for name, content in named.items()]
    if kind == "inspect":
        return [INSPECT]
    if kind in ("newer", "newer of ours", "damaged", "no share"):
        logs = export_run(whole, "inspect", folder / "logs").path
        log = sorted(logs.glob("*advbench*"))[0]

        def change(header: dict[str, Any]) -> None:
            ours = header["eval"]["metadata"]["bfpo_bench"]
            if kind == "newer":
                header["version"] = 3
            elif kind == "no share":
                ours["results"]["tasks"]["bfpo_advbench"]["metrics"]["refused"] = 5.0
            elif kind == "damaged":
                ours["run"]["identity"] = {"tasks": 5}
            else:
                ours["schema"] = 9

        return [changed(log, folder / "x.eval", change)]
    names = {
        "harmbench": completions(),
        "pictures": {"b": [{"test_case": ["a.png", "what?"], "generation": "x"}]},
        "no text": {"b": [{"test_case": "a", "generation": None}]},
        "attacks": attacks(),
        "attacks cut": {"config": {}, "runs": [{"steps": []}]},
        "results": {"results": {}, "configs": {}},
        "samples": {"version": 2, "eval": {"task": "t", "model": "m"}, "samples": 5},
        "tokens": {
            "version": 2,
            "eval": {"task": "t", "model": "m"},
            "samples": [{"input": "a", "output": {"usage": {"output_tokens": 10**30}}}],
        },
        "seen": {
            "version": 2,
            "eval": {"task": "t", "model": "m"},
            "samples": [
                {"input": [{"role": "user", "content": [{"type": "image", "image": "data:"}]}]}
            ],
        },
        "unanswered": {
            "version": 2,
            "eval": {"task": "t", "model": "m"},
            "samples": [{"input": "a"}],
        },
        "chat": [
            {"doc": {}, "arguments": {"gen_args_0": {"arg_0": ["[5]"]}}, "resps": [["b"]]},
        ],
        "many fields": [{f"field {number}": "" for number in range(500)}],
        "unnamed": {"version": 2, "eval": {"task": "t", "model": ""}, "samples": [{"input": "a"}]},
        "lines": [{"prompt": asked, "response": said} for asked, said in EXCHANGES],
        "no field": [{"question": "a", "answer": "b"}],
        "scores": [
            {"doc": {}, "arguments": {"gen_args_0": {"arg_0": "a"}}, "resps": [[["-1", "True"]]]}
        ],
    }
    return [written(folder / f"{kind}.json", names[kind])]


SENTENCES = [
    ("nowhere", {}, "nowhere.json cannot be read (No such file or directory); name a file with"),
    ("folder", {}, "cannot be read (Is a directory); name a file with responses."),
    ("text", {}, "text.jsonl is neither JSON nor JSON lines ("),
    ("empty", {}, "empty.jsonl is neither JSON nor JSON lines ("),
    (
        "array",
        {},
        "array.jsonl is of no tool that is known here (inspect, lm-eval, harmbench, adver",
    ),
    ("unknown", {}, "unknown.jsonl is of no tool that is known here"),
    ("cut", {}, "cut.eval is no whole log of inspect_ai (File is not a zip file); copy it again"),
    ("zip", {}, "any.eval is no log of inspect_ai (it is a ZIP without header.json); name one."),
    (
        "newer",
        {},
        "x.eval is a log of a newer inspect_ai (schema 3, this bfpo-bench knows 2); upgra",
    ),
    ("newer of ours", {}, "x.eval was written by a newer bfpo-bench (schema 9, this one knows 1);"),
    ("damaged", {}, "x.eval is damaged ("),
    ("no share", {}, "x.eval is not what was exported (ValueError("),
    ("bomb", {}, "x.eval is a damaged log (header.json: it has 268435457 bytes); copy it again."),
    ("encrypted", {}, "is encrypted, password required for extraction); copy it again."),
    ("lzma", {}, "x.eval is a damaged log (header.json: Corrupt input data); copy it again."),
    ("no answer", {}, ".json is not what was exported (IndexError("),
    ("choices", {}, ".json is not what was exported (TypeError("),
    ("samples", {}, "samples.json has no list of samples; log it again."),
    ("tokens", {}, "sample 1, output, usage, output_tokens must be at most 9007199254740992, not"),
    ("seen", {}, "seen.json, sample 1 asks about more than a text, and only texts can be judged"),
    ("unanswered", {}, "unanswered.json holds no answers; give a file with some."),
    ("chat", {"model": "m"}, "field 'gen_args_0.arg_0' is list, a text is needed. Name an"),
    ("many fields", {"model": "m"}, "field 10, field 11 …. Name another with --response-field."),
    ("unnamed", {}, "unnamed.json does not say whose answers it holds; name the model with --m"),
    ("configs", {}, "results.json, configs must be keys and values, not ['samples']."),
    (
        "inspect",
        {"format": "harmbench"},
        "is no completions file of HarmBench, it looks like a log",
    ),
    (
        "inspect",
        {"format": "jsonl"},
        "is no file of JSON lines, it looks like a log of inspect_ai;",
    ),
    (
        "harmbench",
        {"format": "inspect"},
        "is no log of inspect_ai, it looks like a completions file",
    ),
    ("harmbench", {"format": "lm-eval"}, "is no results or samples file of lm-eval, it looks like"),
    (
        "attacks",
        {"format": "harmbench"},
        "it looks like a run file of AdversariaLLM; name the right",
    ),
    (
        "lines",
        {"format": "adversariallm"},
        "it looks like a file of JSON lines; name the right file",
    ),
    ("lines", {"format": "hrmbench"}, "unknown format 'hrmbench'; did you mean 'harmbench'?"),
    (
        "harmbench",
        {},
        "harmbench.json does not say whose answers it holds; name the model with --m",
    ),
    (
        "harmbench",
        {"model": "m", "prompt_field": "test_case"},
        "is a completions file of HarmBench, whose fields are known; --prompt-field and --resp",
    ),
    (
        "lines",
        {"model": "m", "suite": "mini"},
        "does not say which task of suite mini its prompts are of; name it with --task, or",
    ),
    ("harmbench", {"model": ""}, "--model must be a text that is not empty, not ''."),
    ("pictures", {"model": "m"}, "behavior b asks about a picture, and only texts can be judged"),
    ("no text", {"model": "m"}, "has a completion without texts as 'test_case' and 'generation';"),
    ("attacks cut", {"model": "m"}, "'original_prompt' is missing"),
    ("results", {"model": "m"}, "holds lm-eval's numbers and no answers; give its samples_*.jsonl"),
    (
        "no field",
        {"model": "m"},
        "has no field 'response'; there are question, answer.",
    ),
    (
        "scores",
        {"model": "m"},
        "line 1 logs no generated responses (log-likelihoods, perhaps); only",
    ),
    (
        "lines",
        {"model": "m", "task": "advbanch"},
        "unknown task 'advbanch'; did you mean 'bfpo_adv",
    ),
    (
        "lines",
        {"model": "m", "task": "toxigen"},
        "bfpo_toxigen is scored by log-likelihoods and as",
    ),
    (
        "lines",
        {"model": "m", "task": "alpaca_eval"},
        "import them with `bfpo-bench helpfulness imp",
    ),
    (
        "lines",
        {"model": "m", "task": "advbench", "suite": "mini"},
        "line 1: its prompt ('How is tea made?') is none of bfpo_advbench; leave --task out",
    ),
]


@pytest.mark.parametrize(("kind", "options", "sentence"), SENTENCES, ids=lambda v: str(v)[:40])
def test_bad_input(
    kind: str, options: dict[str, Any], sentence: str, whole: Path, tmp_path: Path
) -> None:
    files = make(kind, tmp_path, whole)
    with pytest.raises(BadInput) as caught:
        import_files(files, ImportOptions(output=tmp_path / "run", **options))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("mine")
    with pytest.raises(BadInput, match="run holds files already; name another folder for the run"):
        import_files([INSPECT], ImportOptions(output=tmp_path / "run"))
    assert (tmp_path / "run" / "mine").read_text() == "mine"


def test_answers_of_several_models(tmp_path: Path) -> None:
    other = attacks()
    other["config"]["model_params"]["id"] = "other/model"
    files = [written(tmp_path / "a.json", attacks()), written(tmp_path / "b.json", other)]
    with pytest.raises(BadInput) as caught:
        import_files(files, ImportOptions(output=tmp_path / "run"))
    said = (
        "holds microsoft/phi's answers, others those of other/model; name the model with --model."
    )
    assert said in str(caught.value)


def test_our_own_logs_are_what_they_are(whole: Path, tmp_path: Path) -> None:
    logs = sorted(export_run(whole, "inspect", tmp_path / "logs").path.iterdir())
    for files, more in (([*logs, INSPECT], {}), (logs, {"model": "mine"})):
        with pytest.raises(BadInput, match="import such logs by themselves, without --model and"):
            import_files(files, ImportOptions(output=tmp_path / "run", **more))
