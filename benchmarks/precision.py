"""What share of a task's items ``--precision`` asks, replayed over a run that has asked them all.

    python -m benchmarks.precision RUN [--seeds 200]

Each seed draws another order, as a run with that seed would. Printed is the mean share, how often
the score of all items was within the interval at the end, and, for comparison, the share that the
sequence of Waudby-Smith and Ramdas (2020) takes, which may be looked at after every item.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaln, gammaln

from bfpo_bench.common.enough import interval, next_size, sizes
from bfpo_bench.run.outcomes import item_values
from bfpo_bench.run.results_files import read_results
from bfpo_bench.run.store import Store

PRECISIONS = (1.0, 2.0, 5.0)


def replayed(
    values: np.ndarray, precision: float, rng: np.random.Generator
) -> tuple[float, int, bool]:
    """Share of the items that are asked, looks, and whether the interval holds the score of all."""
    counts = np.cumsum(rng.permutation(values)).astype(int)
    n: int | None = sizes(len(values), precision)[0]
    looks = 0
    while n is not None:
        asked, looks = n, looks + 1
        n = next_size(int(counts[asked - 1]), asked, len(values), precision)
    low, high = interval(int(counts[asked - 1]), asked, len(values))
    return asked / len(values), looks, low - 1e-9 <= 100 * values.mean() <= high + 1e-9


def anytime(values: np.ndarray, precision: float) -> float:
    """The share that prior-posterior ratios with a uniform prior take, in an even order."""
    items, share = len(values), values.mean()

    def would_do(n: int) -> bool:
        right = round(share * n)
        rest = np.arange(items - n + 1)
        prior = _beta_binomial(rest + right, items, 1, 1)
        posterior = _beta_binomial(rest, items - n, 1 + right, 1 + n - right)
        inside = right + rest[prior - posterior < np.log(1 / 0.05)]
        found = right / n
        half = max(inside.max() / items - found, found - inside.min() / items)
        return float(half) <= precision / 100

    low, high = 0, items
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if would_do(middle) else (middle, high)
    return high / items


def _beta_binomial(right: Any, n: int, a: float, b: float) -> Any:
    ways = gammaln(n + 1) - gammaln(right + 1) - gammaln(n - right + 1)
    return ways + betaln(right + a, n - right + b) - betaln(a, b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    results = read_results(options.run / "results.json")
    print("| Task | Items | Score | " + " | ".join(f"±{p:g}" for p in PRECISIONS) + " |")
    print("|---|---:|---:|" + "---:|" * len(PRECISIONS))
    asked = dict.fromkeys(PRECISIONS, 0.0)
    everything = 0
    with Store(options.run / "samples.sqlite", read_only=True) as store:
        for cell in results.tasks.values():
            if cell.score is None or cell.n < cell.items:
                continue
            values = np.array([*item_values(store, cell, results.judges).values()])
            everything += cell.n
            texts = []
            for precision in PRECISIONS:
                rng = np.random.default_rng(0)
                runs = [replayed(values, precision, rng) for _ in range(options.seeds)]
                share, looks, held = np.mean(runs, axis=0)
                asked[precision] += share * cell.n
                texts.append(
                    f"{100 * share:.0f} % ({looks:.1f} looks, holds {100 * held:.1f} %; anytime "
                    f"{100 * anytime(values, precision):.0f} %)"
                )
            print(f"| {cell.column} | {cell.n} | {cell.score:.2f} | {' | '.join(texts)} |")
    shares = (f"{100 * asked[p] / everything:.0f} %" for p in PRECISIONS)
    print(f"| all | {everything} | | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
