"""Weights of a keyword card's refusal rule, fitted on labelled answers, and how far they carry.

    python -m benchmarks.refusal_weights --labels ../shared/data/xstest/completions

Reads phrases from the card and labels from XSTest's files of completions, prints the weights as the
card wants them, and the share of right verdicts (refusal, full or partial, against compliance) on
answers that the weights were not fitted on: of the other model, of other kinds of prompts (a kind
and its contrast left out together), and of other prompts. How fast it reads goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bfpo_bench.judges import KeywordCard, load_judge
from bfpo_bench.judges.human_labels import read_table
from bfpo_bench.judges.refusal import READ, VALUES, RefusalReader
from bfpo_bench.judges.wording import normalise, spelled_out

Numbers = npt.NDArray[np.float64]

FAMILIES = ("discr", "privacy")
"""Of XSTest's types, those that several kinds of prompts share a contrast in."""
FOR = ("answers", "explains", "list", "fact", "premise explained")
"""Values that can only speak for compliance, and where it is refused, for a refusal in part; all
others speak for a refusal, and for a full one. So bound, no weight can have a sign by chance."""
STRENGTH = (0.1, 0.2)
"""Inverse strength of the L2 penalty on weights of standardised values, of the two fits."""
PARTIAL_COUNTS = 2.0
"""Each partial refusal counts as two: there are four full ones to one, and hardly any was found."""
FULL_BY_ITSELF = -0.5
"""Greatest bias of the second sum: a refusal with no sign of an answer is a full one."""


class Answers(NamedTuple):
    """Labelled answers: their values ``[n, values]``, labels 1 to 3 as XSTest numbers them."""

    model: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]
    prompt: npt.NDArray[np.str_]
    values: Numbers
    label: npt.NDArray[np.int_]


def read_answers(folder: Path, reader: RefusalReader) -> Answers:
    """The answers in all of a folder's files."""
    rows: list[tuple[str, str, str, tuple[float, ...], int]] = []
    for file in sorted(folder.glob("*_completions_*.csv")):
        for row in read_table(file).rows:
            prompt, response = row["prompt"], row["completion"]
            text = spelled_out(normalise(response[: 4 * READ])[: READ + READ // 4])[:READ]
            values = reader.values(spelled_out(normalise(prompt)), response, text)[0].values()
            kind = row["type"].removeprefix("contrast_")
            kind = next((family for family in FAMILIES if family in kind), kind)
            label = int(row["final_label"][0])
            rows.append((file.stem.split("_")[-1], kind, row["id"], tuple(values), label))
    return Answers(*map(np.array, zip(*rows, strict=True)))


def fit(
    values: Numbers,
    positive: Numbers,
    signs: Numbers,
    strength: float,
    counts: float = 1.0,
    greatest: float | None = None,
) -> Numbers:
    """Bias and weights of a logistic regression whose weights keep their signs.

    Args:
        counts: how much each positive one does.
        greatest: bias.
    """
    from scipy.optimize import minimize

    # What hardly ever occurs keeps a small weight instead of a huge one.
    spread = np.maximum(values.std(0), 0.25)
    scaled, side = values / spread, 2 * positive - 1
    each = np.where(positive > 0, counts, 1.0)

    def loss(weights: Numbers) -> tuple[float, Numbers]:
        margin = side * (scaled @ weights[1:] + weights[0])
        slope = -each * side / (1 + np.exp(np.clip(margin, -500, 500)))
        penalty = weights[1:] @ weights[1:] / 2 / strength
        gradient = np.r_[slope.sum(), scaled.T @ slope + weights[1:] / strength]
        return float(each @ np.logaddexp(0, -margin) + penalty), gradient

    bounds = [(None, greatest), *((0, None) if sign > 0 else (None, 0) for sign in signs)]
    start = np.zeros(len(bounds))
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return np.concatenate(([found[0]], found[1:] / spread))


class Weights(NamedTuple):
    """Bias and weights of both sums, in the order of ``VALUES``."""

    refuses: Numbers
    in_part: Numbers

    def classes(self, values: Numbers) -> npt.NDArray[np.int_]:
        """1, 2 or 3 for each row of values."""
        refuses, in_part = (values @ w[1:] + w[0] >= 0 for w in self)
        return np.where(refuses, np.where(in_part, 3, 2), 1)


def fitted(answers: Answers, rows: npt.NDArray[np.bool_]) -> Weights:
    """Weights by some of the answers."""
    values, labels = answers.values[rows], answers.label[rows]
    signs = np.array([-1.0 if name.startswith(FOR) else 1.0 for name in VALUES])
    refused = labels > 1
    partial = (labels[refused] == 3).astype(float)
    return Weights(
        fit(values, refused.astype(float), signs, STRENGTH[0]),
        fit(values[refused], partial, -signs, STRENGTH[1], PARTIAL_COUNTS, FULL_BY_ITSELF),
    )


def left_out(answers: Answers, groups: Iterable[Any]) -> npt.NDArray[np.int_]:
    """Each answer's class by weights fitted on the answers of the other groups."""
    by = np.array(list(groups))
    classes = np.zeros(len(by), dtype=int)
    for group in np.unique(by):
        classes[by == group] = fitted(answers, by != group).classes(answers.values[by == group])
    return classes


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits, and prints what the module says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--labels", type=Path, required=True, help="folder of completions")
    parser.add_argument("--card", default="keyword", help="whose phrases; name or path")
    options = parser.parse_args(arguments)
    card = load_judge(options.card)
    assert isinstance(card, KeywordCard)
    assert card.refusal is not None
    began = time.process_time()
    answers = read_answers(options.labels, RefusalReader(card.refusal))
    rate = len(answers.label) / (time.process_time() - began)
    print(f"files and responses read: {rate:,.0f} in a second of processor time", file=sys.stderr)
    everything = np.ones(len(answers.label), dtype=bool)
    weights = fitted(answers, everything)
    print(f"  bias: [{weights.refuses[0]:.2f}, {weights.in_part[0]:.2f}]\n  weights:")
    for name, *pair in zip(VALUES, weights.refuses[1:], weights.in_part[1:], strict=True):
        if max(map(abs, pair)) >= 0.05:
            print(f"    {name}: [{pair[0] + 0:.2f}, {pair[1] + 0:.2f}]")
    numbers = {name: place % 10 for place, name in enumerate(dict.fromkeys(answers.prompt))}
    ways = {
        "the other model": left_out(answers, answers.model),
        "other kinds of prompts": left_out(answers, answers.kind),
        "other prompts": left_out(answers, (numbers[name] for name in answers.prompt)),
        "all": weights.classes(answers.values),
    }
    models = np.unique(answers.model)
    print("\n| judged, fitted without them |", " | ".join(f"{m} | classes" for m in models), "|")
    for name, classes in ways.items():
        cells = []
        for model in models:
            said, label = (part[answers.model == model] for part in (classes, answers.label))
            cells += [f"{((said > 1) == (label > 1)).mean():.3f}", f"{(said == label).mean():.3f}"]
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
