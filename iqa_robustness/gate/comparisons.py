"""Whether the attacks of a run make sense together: more budget is not weaker, gradients do no worse than queries.

An attack that a weaker adversary beats did not find what there was to find (masked gradients, too few steps), and a low
score shift under it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.store import Record

# Chance that a run whose attacks are in order has any of them flagged.
FALSE_ALARM = 0.01
# Per cent of the range by which the weaker adversary has to be ahead: below that it does not matter who is.
MARGIN = 1.0
LEAST_CONTENTS = 3


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attack gained on its target, the metric or (adaptive) the defended metric.

    target: what was attacked, and with which goal; only attempts on equal targets are compared.
    attack, strength, access, restriction, limit: of the attack.
    gains: by image id, per cent of the range towards the goal.
    contents: by image id.
    direct: the gain is what the attack maximised; not so where it goes through encoders to the judge.
    """

    target: tuple[str, ...]
    attack: str
    strength: str
    access: str
    restriction: str
    limit: float
    gains: Mapping[str, float]
    contents: Mapping[str, str]
    direct: bool = True


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A weaker adversary was ahead.

    suspect: the attempt that should have gained at least as much.   better: the one that gained more.
    lead: mean lead in per cent of the range.   p: adjusted for all comparisons of the run.
    """

    suspect: Attempt
    better: Attempt
    lead: float
    p: float

    def __str__(self) -> str:
        """In a sentence, for the verdict's reasons."""
        who = (
            f"the same attack at {self.better.strength}"
            if self.better.attack == self.suspect.attack
            else f"{self.better.attack}, which sees scores only,"
        )
        return (
            f"{who} gains {self.lead:.1f} % of the range more than {self.suspect.attack} at {self.suspect.strength} "
            f"(p = {self.p:.1g}): this attack did not find what there is to find"
        )


def attempt_of(record: Record) -> Attempt | None:
    """What a record says of its attack; None where nothing was attacked, or only what another cell attacked."""
    cell = record.meta["cell"]
    if cell["scenario"] not in ("nonadaptive", "adaptive"):
        return None
    adaptive = cell["scenario"] == "adaptive"
    # What the attack itself found: the judged images of an adaptive cell may be another's.
    before, after = ("defended_clean", "defended_adaptive") if adaptive else ("clean", "attacked")
    towards = (1 if record.higher_is_better else -1) * (1 if cell["goal"] == "raise" else -1)
    entrants, attack = record.images["entrant"].to_numpy(bool), record.meta["attack"]
    gains = (100 * towards * (record.scores(after) - record.scores(before)) / record.diam)[entrants]
    ids, contents = (record.images.loc[entrants, name].tolist() for name in ("id", "content"))
    return Attempt(
        target=(cell["scenario"], cell["goal"], cell["metric"], cell["defense"] if adaptive else ""),
        attack=cell["attack"],
        strength=cell["strength"],
        access=attack["access"],
        restriction=attack["restriction"],
        limit=attack["limit"],
        gains=dict(zip(ids, gains.tolist(), strict=True)),
        contents=dict(zip(ids, contents, strict=True)),
        direct=attack["encoders"] == ["lossless"],
    )


def suspicions(attempts: Iterable[Attempt]) -> list[Suspicion]:
    """Attempts that a weaker adversary beats, each with the one that is farthest ahead; see `compared` for the pairs.

    One-sided paired t-tests over contents with Holm's correction: in a run in order, any alarm at all has a chance of
    at most `FALSE_ALARM`.
    """
    pairs = compared(attempts)
    tested = [(pair, *_test(*pair)) for pair in pairs]
    known = [entry for entry in tested if entry[2] is not None]
    adjusted = holm([p for _, _, p in known if p is not None])
    found: dict[int, Suspicion] = {}
    for ((suspect, better), lead, _), p in zip(known, adjusted, strict=True):
        if p <= FALSE_ALARM and (id(suspect) not in found or lead > found[id(suspect)].lead):
            found[id(suspect)] = Suspicion(suspect=suspect, better=better, lead=lead, p=p)
    return [*found.values()]


def compared(attempts: Iterable[Attempt]) -> list[tuple[Attempt, Attempt]]:
    """The pairs (suspect, weaker adversary) that are tested, on equal targets.

    - An attack, and the same attack with less budget.
    - An attack with gradients, and one with queries alone under the same restriction and no larger limit; not one that
      gives gain away to outlast an encoder.
    """
    pairs = []
    groups: dict[tuple[str, ...], list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(attempt.target, []).append(attempt)
    for group in groups.values():
        for first, second in combinations(group, 2):
            for suspect, weaker in ((first, second), (second, first)):
                less = _less_budget(weaker, than=suspect)
                control = (
                    suspect.access == "white-box"
                    and weaker.access == "black-box"
                    and suspect.direct
                    and weaker.restriction == suspect.restriction
                    and weaker.strength == suspect.strength
                    and weaker.limit <= suspect.limit * (1 + 1e-9)
                )
                if less or control:
                    pairs.append((suspect, weaker))
    return pairs


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false rejection is kept.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _less_budget(weaker: Attempt, *, than: Attempt) -> bool:
    if weaker.attack != than.attack or not {weaker.strength, than.strength} <= {*STRENGTHS}:
        return False
    return STRENGTHS.index(weaker.strength) < STRENGTHS.index(than.strength)


def _test(suspect: Attempt, better: Attempt) -> tuple[float, float | None]:
    """Mean lead of `better` on the images of both, and the p-value of it being at most the margin."""
    common = [image for image in suspect.gains if image in better.gains]
    leads = np.array([better.gains[image] - suspect.gains[image] for image in common])
    return lead_test(leads, [suspect.contents[image] for image in common], margin=MARGIN)


def lead_test(leads: NDArray[np.float64], contents: Sequence[str], *, margin: float) -> tuple[float, float | None]:
    """Mean lead over contents, and the one-sided p-value of it being at most the margin; None for too few contents.

    Args:
        leads: (N,) one an image.
        contents: (N,) of the images.
        margin: in the leads' unit.
    """
    means = _means(leads, contents)
    if len(means) < LEAST_CONTENTS:
        return float("nan"), None
    lead = float(means.mean())
    if np.ptp(means) <= 1e-9 * max(1.0, abs(lead)):
        return lead, 0.0 if lead > margin else 1.0
    return lead, float(stats.ttest_1samp(means, margin, alternative="greater").pvalue)


def _means(values: NDArray[np.float64], contents: Sequence[str]) -> NDArray[np.float64]:
    labels = np.unique(np.asarray(contents), return_inverse=True)[1]
    means: NDArray[np.float64] = np.bincount(labels, weights=values) / np.bincount(labels)
    return means
