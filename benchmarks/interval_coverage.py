"""How often the intervals that gates rest on hold the true value, by the number of contents.

    python benchmarks/interval_coverage.py [--repetitions 1000] [--contents 10 20 30 50 100 200] [--measures d_score …]

Records are drawn from populations: gains that are normal, skewed (exponential) or heavy-tailed (Student's t with three
degrees of freedom), with one image a content or five that share half of their variance. Each measure is computed by the
gate's own code; the true value is the same code's estimate from many more independent images. Printed is, in per cent,
the share of intervals that hold it: for each measure and number of contents the least and the largest of the six
populations. In brackets stands the largest share of intervals that lie below it (a wrong pass of a `max`) and above it
(of a `min`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from iqa_robustness.gate.measurements import MEASURES
from iqa_robustness.store import Record

GAINS = ("normal", "skewed", "heavy")
EACH = (1, 5)
CONTENTS = (10, 20, 30, 50, 100, 200)
# One of each way to make an interval, and of each kind of number it is made from.
CHECKED = (
    *("d_score", "d_score_excess", "cert_rd", "cert_r", "abstain", "survives_jpeg", "spread", "effect_size"),
    *("srocc_adv", "srocc_shift", "srocc_mixed", "rank_flips", "rank_displacement"),
)
LEAST, MOST = 0.93, 0.97
# From here on, intervals have to be as good as they say; with fewer contents they may be wider.
FROM = 30
# Discrete, or not bounded on a side by so few images: wider than nominal by their nature.
WIDER = ("abstain", "survives_jpeg", "spread")


@dataclass(frozen=True, kw_only=True)
class Population:
    """Where records are drawn from.

    gains: `normal`, `skewed` or `heavy`.      each: images of a content.
    """

    gains: str
    each: int

    def record(self, contents: int, random: np.random.RandomState, *, one_content: bool = False) -> Record:
        """A record of so many contents; `one_content` says that all images are of one, which asks for no interval."""
        count = contents * self.each

        def shared(kind: str = "normal") -> np.ndarray:
            """Mean 0, variance about 1, half of it common to a content."""
            parts = [_drawn(kind, (contents, columns), random) for columns in (1, self.each)]
            return (sum(parts) / np.sqrt(2)).ravel() if self.each > 1 else parts[1].ravel()

        quality = shared()
        clean = 50 + 12 * (0.8 * quality + 0.6 * shared())
        attacked = clean + 15 + 10 * shared(self.gains)
        width = 4 + 3 * np.abs(shared(self.gains))
        abstained = shared() > 1.3  # a tenth of the images
        encoded = clean - 2 + 0.5 * shared()
        table = {
            "content": np.zeros(count, int) if one_content else np.repeat(np.arange(contents), self.each),
            "mos": quality,
            "clean": clean,
            "attacked": attacked,
            "defended_clean": clean,
            "defended_attacked": attacked,
            "placebo": clean + 2 + 3 * shared(),
            "clean_jpeg": encoded,
            "attacked_jpeg": encoded + (attacked - clean) * (0.7 + 0.3 * shared()),
            "attacked_lower": np.where(abstained, np.nan, attacked - width),
            "attacked_upper": np.where(abstained, np.nan, attacked + width),
            "radius": np.where(abstained, 0.0, np.maximum(0.04 + 0.02 * shared(self.gains), 0.0)),
            "abstained": abstained,
            "entrant": True,
        }
        meta = {
            "cell": {"scenario": "nonadaptive", "goal": "raise"},
            "metric": {"score_range": [0.0, 100.0], "higher_is_better": True},
        }
        return Record(images=pd.DataFrame(table), meta=meta)


def _drawn(kind: str, shape: tuple[int, int], random: np.random.RandomState) -> np.ndarray:
    if kind == "skewed":
        return random.exponential(size=shape) - 1
    return random.standard_t(3, size=shape) / np.sqrt(3) if kind == "heavy" else random.normal(size=shape)


@cache
def true_value(measure: str, population: Population) -> float:
    """From eighty thousand independent contents, in parts that tables of all pairs can be made of.

    Percentiles of a part are biased by far less than what any interval here is wide.
    """
    random, parts = np.random.RandomState(77), 40
    alone = Population(gains=population.gains, each=population.each)
    estimates = []
    for _ in range(parts):
        record = alone.record(2000, random, one_content=True)
        # One image of each content: neighbours of a content are not independent, and their pairs are few.
        images = record.images.iloc[:: population.each].reset_index(drop=True)
        estimates.append(MEASURES[measure].compute(Record(images=images, meta=record.meta)).value)
    return float(np.mean(estimates))


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Shares of the intervals: that hold the true value, that lie below it and above it."""

    held: float
    below: float
    above: float


def coverage(measures: Sequence[str], population: Population, contents: int, repetitions: int) -> dict[str, Coverage]:
    """Of the intervals of so many records, by measure."""
    below, above = dict.fromkeys(measures, 0), dict.fromkeys(measures, 0)
    for repetition in range(repetitions):
        record = population.record(contents, np.random.RandomState([repetition, contents, population.each]))
        for name in measures:
            found = MEASURES[name].compute(record).within(*MEASURES[name].limits)
            below[name] += found.high < true_value(name, population)
            above[name] += found.low > true_value(name, population)
    return {
        name: Coverage(
            held=1 - (below[name] + above[name]) / repetitions,
            below=below[name] / repetitions,
            above=above[name] / repetitions,
        )
        for name in measures
    }


def main() -> int:
    """Print the table; exit code 1 when an interval is narrower than it says from thirty contents on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--contents", type=int, nargs="+", default=CONTENTS)
    parser.add_argument("--measures", nargs="+", default=CHECKED)
    options = parser.parse_args()
    # What may still be chance, were the coverage as good as the limit.
    chance = 3 * np.sqrt(LEAST * (1 - LEAST) / options.repetitions)
    print(f"| measure | {' | '.join(str(count) for count in options.contents)} |", flush=True)
    print(f"|---|{'---|' * len(options.contents)}")
    rows: dict[str, list[str]] = {name: [] for name in options.measures}
    wrong = []
    for contents in options.contents:
        found = [
            coverage(options.measures, Population(gains=gains, each=each), contents, options.repetitions)
            for gains in GAINS
            for each in EACH
        ]
        for name in options.measures:
            least, most = min(f[name].held for f in found), max(f[name].held for f in found)
            wrong_sides = max(f[name].below for f in found), max(f[name].above for f in found)
            sides = " ".join(f"{100 * share:.1f}" for share in wrong_sides)
            rows[name].append(f"{100 * least:.1f} – {100 * most:.1f} ({sides})")
            most_allowed = 1.0 if name in WIDER else MOST + chance
            if contents >= FROM and not LEAST - chance <= least <= most <= most_allowed:
                wrong.append(f"{name} with {contents} contents: {least:.3f} – {most:.3f}")
        print(f"{contents} contents are done", file=sys.stderr, flush=True)
    for name, cells in rows.items():
        print(f"| `{name}` | {' | '.join(cells)} |")
    for line in wrong:
        print(f"not within {LEAST:.0%} – {MOST:.0%}: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
