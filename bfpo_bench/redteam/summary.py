"""What a red teaming found, beside its file of pairs; neither is written over somebody else's."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bfpo_bench.common.errors import BadInput, RunFailed
from bfpo_bench.common.files import (
    atomic_write,
    beside,
    owned,
    put_in,
    refuse_file_of_run,
    remove,
)
from bfpo_bench.common.json_file import read_json
from bfpo_bench.redteam.pairs import Answer, Dropped, Fate
from bfpo_bench.redteam.prompts import PromptSet
from bfpo_bench.redteam.request import RedteamOptions, Request
from bfpo_bench.run.identity import differences, formatless, is_earlier, nameless, shared_parts
from bfpo_bench.run.store import ResponseRecord
from bfpo_bench.training.data.preferences import PreferenceRecord

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Category:
    """Counts of one category, or of all.

    Attributes:
        prompts: prompts asked.
        responses: responses to them.
        harmful, unknown: how many of them the judge calls so.
        share: percent of responses that are harmful; unknown ones stay in the denominator.
        stderr: standard error of the share in percentage points, over prompts: responses to one
            prompt are alike.
        pairs: prompts that made a pair.
    """

    prompts: int
    responses: int
    harmful: int
    unknown: int
    share: float
    stderr: float
    pairs: int


@dataclass(frozen=True)
class Summary:
    """A red teaming in numbers; written beside the pairs.

    Attributes:
        output: name of the preference file.
        digest: sha256 of its bytes.
        made_of: all that the file depends on.
        prompts: where the prompts come from, and what became of its rows.
        total: counts over all prompts.
        categories: the same by category, in the order in which they occur.
        pairs: pairs by the safety of the more and the less helpful response.
        dropped: prompts that made no pair, by reason.
        cut_off: responses that ended at their greatest length.
        notes: sentences that belong next to the numbers.
    """

    output: str
    digest: str
    made_of: dict[str, Any]
    prompts: dict[str, Any]
    total: Category
    categories: dict[str, Category]
    pairs: dict[str, int]
    dropped: dict[str, int]
    cut_off: int
    notes: list[str]
    no_answer: int = 0
    schema: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The summary as the text of its file."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def read_summary(path: Path) -> Summary | None:
    """The summary in a file; None where there is none of this program's."""
    try:
        content = read_json(path)
        content["total"] = Category(**content["total"])
        content["categories"] = {k: Category(**v) for k, v in content["categories"].items()}
        summary = Summary(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return summary if summary.schema == SCHEMA_VERSION else None


def summarize(
    request: Request,
    made_of: dict[str, Any],
    text: str,
    responses: Sequence[Sequence[ResponseRecord]],
    answers: Sequence[Sequence[Answer]],
    fates: Sequence[Fate],
) -> Summary:
    """The summary of a preference file.

    Args:
        made_of: all that the file depends on.
        text: of the file.
        responses, answers: those to each prompt, and what the judge says of them.
        fates: the pair that each prompt made, or why it made none.
    """
    prompts = request.prompts
    total, categories = count(prompts, answers, fates)
    dropped = Counter(fate.value for fate in fates if isinstance(fate, Dropped))
    summary = Summary(
        output=request.options.output.name,
        digest=hashlib.sha256(text.encode("ascii")).hexdigest(),
        made_of=made_of,
        prompts={
            "source": prompts.where,
            "rows": prompts.rows,
            "blank": prompts.blank,
            "repeated": prompts.repeated,
            "left_out": prompts.left_out,
        },
        total=total,
        categories=categories,
        pairs=kinds_of_pairs(fates),
        dropped={reason.value: dropped[reason.value] for reason in Dropped},
        cut_off=sum(r.finish == "length" for some in responses for r in some),
        notes=[],
        no_answer=sum(r.no_answer is not None for some in responses for r in some),
    )
    return replace(summary, notes=_notes(request, summary))


def _notes(request: Request, summary: Summary) -> list[str]:
    total, judge, plain = summary.total, request.judge.card.name, request.target.plain
    notes = [*request.prompts.marks]
    told = [plain] if plain else request.target.chat_marks
    for mark in [*told, *request.target.unused_settings]:
        notes.append(f"{mark[0].upper()}{mark[1:]}.")
    if total.unknown == total.responses:
        notes.append(f"The judge {judge} could not tell of any response whether it is harmful.")
    elif not total.harmful:
        notes.append(f"None of {total.responses} responses was judged harmful by {judge}.")
    if not total.pairs:
        notes.append(f"{summary.output} is empty: there is nothing to train on.")
    if summary.no_answer:
        notes.append(f"{summary.no_answer} of {total.responses} responses hold no answer.")
    if summary.cut_off:
        notes.append(
            f"{summary.cut_off} of {total.responses} responses were cut off at "
            f"{request.options.max_new_tokens} tokens."
        )
    return notes


def count(
    prompts: PromptSet,
    answers: Sequence[Sequence[Answer]],
    fates: Sequence[Fate],
) -> tuple[Category, dict[str, Category]]:
    """Counts over all prompts, and by category where there are categories.

    Args:
        answers: the responses to each prompt.
        fates: the pair that each prompt made, or why it made none.
    """
    from bfpo_bench.common.statistics import share

    everything = range(len(prompts.prompts))
    members: dict[str, list[int]] = {}
    for index in everything:
        members.setdefault(prompts.prompts[index].category, []).append(index)

    def counted(indices: Sequence[int]) -> Category:
        verdicts = [[answer.harmful for answer in answers[i]] for i in indices]
        percent, stderr = share([some.count(True) / len(some) for some in verdicts])
        return Category(
            prompts=len(indices),
            responses=sum(map(len, verdicts)),
            harmful=sum(some.count(True) for some in verdicts),
            unknown=sum(some.count(None) for some in verdicts),
            share=percent,
            stderr=stderr,
            pairs=sum(isinstance(fates[i], PreferenceRecord) for i in indices),
        )

    by_category = {name: counted(some) for name, some in members.items()}
    return counted(everything), by_category if set(by_category) != {""} else {}


def kinds_of_pairs(fates: Sequence[Fate]) -> dict[str, int]:
    """Pairs by the safety of both responses: what decides the label of BFPO (Eq. 12)."""
    kinds: Mapping[tuple[bool | None, bool | None], str] = {
        (True, False): "more helpful safe, less helpful harmful",
        (False, True): "more helpful harmful, less helpful safe",
        (False, False): "both harmful",
    }
    found = dict.fromkeys(kinds.values(), 0)
    for pair in fates:
        if isinstance(pair, PreferenceRecord):
            winner = pair.more_helpful or 0
            found[kinds[pair.safe[winner], pair.safe[1 - winner]]] += 1
    return found


def claim_output(options: RedteamOptions, made_of: dict[str, Any]) -> Summary | None:
    """The summary of a file that is there already and is what is asked for; None to write one.

    Raises:
        BadInput: the file is somebody else's or of something different, or cannot be written.
    """
    output = options.output
    for path in (output, options.summary_path):
        refuse_file_of_run(path)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        data = output.read_bytes() if output.exists() else None
    except OSError as error:
        raise BadInput(
            f"the pairs cannot be written to {output} ({error.strerror}); name another --output."
        ) from error
    if data is None:
        return None
    summary = read_summary(options.summary_path)
    if summary is None or summary.digest != hashlib.sha256(data).hexdigest():
        raise BadInput(
            f"{output} is there already, and not as a red teaming has written it; move it away or "
            "name another --output."
        )
    if options.fresh:
        return None
    both = nameless(summary.made_of), nameless(made_of)
    if options.loading.dtype == "auto":
        both = formatless(both[0]), formatless(both[1])
    different = differences(*(shared_parts(*both) if is_earlier(summary.made_of) else both))
    if different:
        raise BadInput(
            f"{output} holds pairs of something different: {'; '.join(different)}. Name another "
            f"--output (with --run {options.run_folder} it takes up what was answered), or start "
            "over with --fresh."
        )
    return summary


@contextmanager
def owned_output(options: RedteamOptions) -> Iterator[None]:
    """Pairs and summary are this process's until the block ends; those that are there are read.

    What a killed process was about to put in place is put there first.

    Raises:
        BadInput: another process is writing them, or there is nowhere to write.
    """
    files, ready = (options.output, options.summary_path), _ready(options)
    if all(file.exists() for file in files) and not options.fresh and not ready.exists():
        yield  # whoever may only read here may read them
        return
    with owned(files[0]), owned(files[1]):
        if ready.exists():
            _put(options)
        yield


def write_output(options: RedteamOptions, text: str, summary: Summary) -> None:
    """Writes pairs and summary, first beside their places; from there a kill cannot part them.

    Whoever sees a summary sees the pairs that it is of.

    Raises:
        RunFailed: the disk is full; the run directory keeps all that was computed.
    """
    staged = beside(options.output)
    try:
        staged.mkdir()
        atomic_write(staged / options.summary_path.name, summary.to_json())
        atomic_write(staged / options.output.name, text)
        staged.rename(_ready(options))
        _put(options)
    except OSError as error:
        raise RunFailed(
            f"cannot write {options.output}: {error.strerror}; make room on the disk and run the "
            "same command again."
        ) from error
    finally:
        remove(staged)


def _ready(options: RedteamOptions) -> Path:
    """Where both are when all of both is written."""
    return beside(options.output, "ready")


def _put(options: RedteamOptions) -> None:
    put_in(_ready(options), options.output.parent, last=options.summary_path.name)
    _ready(options).rmdir()
