"""People's labels of responses, by which a judge's numbers are corrected: ``--calibration``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic.dataclasses import dataclass as checked

from bfpo_bench.common.errors import BadInput
from bfpo_bench.common.options import Help, Options, Place, chosen, split
from bfpo_bench.common.text import valid_text
from bfpo_bench.common.validate import STRICT
from bfpo_bench.judges.human_labels import Table, majority, read_table
from bfpo_bench.judges.protocol import Exchange
from bfpo_bench.judges.vocabulary import HARM

LABEL = "label"
_TEXTS = ("prompt", "response")


@checked(frozen=True, config=STRICT)
class CalibrationOptions(Options):
    """Where people's labels are, and how they are to be read."""

    calibration: Annotated[
        Place | None,
        Help(
            "CSV, JSON or JSON lines with people's labels (harmful or harmless) of responses: the "
            "judge's numbers corrected for its errors, beside its own."
        ),
    ] = None
    label_column: Annotated[
        tuple[str, ...],
        split(","),
        Help(
            "Column of the labels; several, by comma, are put to the vote. [default: label]",
            given=str | None,
        ),
    ] = ()
    label_means: Annotated[
        str | None, Help("What 1, true and yes say in these columns: harmful or safe.")
    ] = None
    label_prompt: Annotated[str, Help("Column of the prompts that were labelled.")] = "prompt"
    label_response: Annotated[str, Help("Column of the responses that were labelled.")] = "response"
    label_encoding: Annotated[
        str | None, Help("Of the file, e.g. cp1252. [default: UTF-8 or UTF-16]")
    ] = None

    def __post_init__(self) -> None:
        if self.calibration is None and (lone := chosen(self)):
            flag = f"--{lone[0].replace('_', '-')}"
            raise BadInput(f"{flag} is of the labels of --calibration; name their file too.")
        if self.label_means is not None and self.label_means not in HARM.means:
            raise BadInput(
                f"--label-means is either {' or '.join(HARM.means)}, not {self.label_means!r}."
            )


@dataclass(frozen=True)
class Labels:
    """Responses that people have labelled.

    Attributes:
        harmless: by what was asked and answered, as :func:`told` makes it, what people say.
        exchanges: the texts themselves, in the same order.
        about: the file and how it was read.
        left_out: what must be said of rows without a use.
    """

    table: Table
    harmless: dict[tuple[str, str], bool]
    exchanges: list[Exchange]
    about: dict[str, str]
    left_out: list[str]


def told(prompt: str, response: str) -> tuple[str, str]:
    """Texts as they are compared: a spreadsheet changes line ends and what stands around."""
    return " ".join(prompt.split()), " ".join(response.split())


def read_labels(options: CalibrationOptions) -> Labels | None:
    """The labels that are named, if any are.

    Raises:
        BadInput: the file, a column or a value is not right; no row has a label; or one response
            has two that differ.
    """
    path = options.calibration
    if path is None:
        return None
    table = read_table(path, options.label_encoding, "--label-encoding")
    columns = table.named(options.label_column or (LABEL,))
    found = majority(table, columns, options.label_means)
    prompts, responses = table.texts(options.label_prompt), table.texts(options.label_response)
    harmless: dict[tuple[str, str], bool] = {}
    exchanges: list[Exchange] = []
    for row, (prompt, response, label) in enumerate(
        zip(prompts, responses, found.values, strict=True), table.first
    ):
        if label is None:
            continue
        key, said = told(prompt, response), label == "harmless"
        if harmless.setdefault(key, said) != said:
            raise BadInput(
                f"{path}, row {row}: the response is labelled {label} here and otherwise before; "
                "keep one row of it, or name a column for each person with --label-column."
            )
        if len(exchanges) < len(harmless):
            exchanges.append(Exchange(prompt, response))
    if not harmless:
        raise BadInput(f"{path} has no label in {', '.join(columns)}; write harmful or harmless.")
    left_out = [
        f"{count} of {len(found.values)} rows of {path.name} {why}"
        for count, why in ((found.ties, "have tied labels"), (found.unlabelled, "have no label"))
        if count
    ]
    read_as = {
        "means": options.label_means,
        **{part: found for part in _TEXTS if (found := getattr(options, f"label_{part}")) != part},
        "encoding": options.label_encoding,
    }
    about = {"file": valid_text(path.name), "sha256": table.digest, "columns": ", ".join(columns)}
    about |= {part: said for part, said in read_as.items() if said}
    return Labels(table, harmless, exchanges, about, left_out)
