"""The worst case over attacks: for each image the attack that gained most, and which attack that was how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from iqa_robustness.measures import Interval, mean_interval
from iqa_robustness.store import Record

# One attack is its own worst case.
LEAST_ATTACKS = 2


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What one cell's attack did to the defended metric.

    subject: metric, defense, scenario, goal, strength; harms of equal subjects are compared.
    attack: its name.
    gains: by image id, f(P(x')) − f(x) towards the goal, per cent of the range.
    contents: by image id.
    """

    subject: tuple[str, str, str, str, str]
    attack: str
    gains: Mapping[str, float]
    contents: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The worst of several attacks on each image.

    subject: as of `Harm`.
    gain: mean over images of the largest gain, per cent of the range, with its interval.
    attribution: by attack, the share of the images on which it gained most; largest first.
    images: that any of the attacks attacked.
    """

    subject: tuple[str, str, str, str, str]
    gain: Interval
    attribution: Mapping[str, float]
    images: int

    @property
    def attributed(self) -> str:
        """`apgd 80 %, square 20 %`."""
        return ", ".join(f"{attack} {100 * share:.0f} %" for attack, share in self.attribution.items())


def harm_of(record: Record) -> Harm | None:
    """What a record says of its attack's harm to the images that were attacked.

    None without an attack, with one that looked at another target, and where no image was attacked.
    """
    entrants = record.images["entrant"].to_numpy(bool)
    if "attack" not in record.meta or record.meta["cell"].get("source") or not entrants.any():
        return None
    cell = record.meta["cell"]
    towards = (1 if record.higher_is_better else -1) * (1 if cell["goal"] == "raise" else -1)
    gains = (100 * towards * (record.scores("defended_attacked") - record.scores("clean")) / record.diam)[entrants]
    ids, contents = (record.images.loc[entrants, name].tolist() for name in ("id", "content"))
    return Harm(
        subject=(cell["metric"], cell["defense"], cell["scenario"], cell["goal"], cell["strength"]),
        attack=cell["attack"],
        gains=dict(zip(ids, gains.tolist(), strict=True)),
        contents=dict(zip(ids, contents, strict=True)),
    )


def worst_cases(harms: Iterable[Harm]) -> list[WorstCase]:
    """One for each subject that at least two attacks attacked, sorted by subject; give harms of valid attacks only.

    An image that only some attacks attacked (query attacks take fewer) has the worst of those.
    """
    groups: dict[tuple[str, str, str, str, str], list[Harm]] = {}
    for harm in harms:
        groups.setdefault(harm.subject, []).append(harm)
    return [_worst(subject, groups[subject]) for subject in sorted(groups) if len(groups[subject]) >= LEAST_ATTACKS]


def _worst(subject: tuple[str, str, str, str, str], harms: list[Harm]) -> WorstCase:
    largest: dict[str, tuple[float, str]] = {}
    contents: dict[str, str] = {}
    for harm in sorted(harms, key=lambda harm: harm.attack):
        contents |= harm.contents
        for image, gain in harm.gains.items():
            if image not in largest or gain > largest[image][0]:
                largest[image] = (gain, harm.attack)
    counts = Counter(attack for _, attack in largest.values())
    return WorstCase(
        subject=subject,
        gain=mean_interval(np.array([gain for gain, _ in largest.values()]), [contents[image] for image in largest]),
        attribution={attack: count / len(largest) for attack, count in counts.most_common()},
        images=len(largest),
    )
