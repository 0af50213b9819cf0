"""Pairs of an attacked image and the clean one, which purifiers are trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iqa_robustness import datasets
from iqa_robustness.attacks.base import Attack
from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.sources import Clean
from iqa_robustness.bench.stages import Stages, stored_images
from iqa_robustness.datasets.base import Dataset, View
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.images import to_uint8

# What everything is judged on unless somebody names another data set.
JUDGED = "mini"


@dataclass(frozen=True, kw_only=True)
class AttackedPairs:
    """Images of one size, each clean and attacked in one or more ways.

    clean, attacked: (N, H, W, 3) uint8.
    contents: the source scene of each; training and validation share none.
    images: digest of the clean images.
    entry: digest of everything that the attacked ones follow from: attack, metric, images, seed, numerics.
    forwards, backwards: passes of the attacked metric, all images together.
    """

    clean: np.ndarray
    attacked: np.ndarray
    contents: Sequence[str]
    images: str
    entry: str
    forwards: int
    backwards: int

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.clean)


def attacked_pairs(stages: Stages, attack: Attack, pair: Pair, view: View, *, goal: str, seed: int) -> AttackedPairs:
    """Attack every image of a view, or take the results from the store.

    Args:
        stages: store, device and micro-batch.
        attack: configured.
        pair: its metric, undefended, is attacked.
        view: the images.
        goal: `raise` or `lower`.
        seed: of the attack.

    Raises:
        ConfigurationError: no images, images that `mini` is made of, or an attack that changes none of them.
        CapabilityError, MetricContractError, AttackContractError: what the attack raises.
    """
    clean = Clean(view)
    refuse_leakage(view.base)
    cell: dict[str, Any] = {"draws": 1, "max_forwards": None, "seed": seed}
    entry = stages.adversarial(attack, pair, clean, adaptive=False, goal=goal, cell=cell)
    columns, everything = stages.values(entry), range(len(clean))
    originals, found = (to_uint8(source.batch(everything)) for source in (clean, stored_images(entry, clean)))
    if np.array_equal(originals, found):
        raise ConfigurationError(
            "the attack changed no image: there is nothing to learn",
            where=Where(metric=pair.subject.name, attack=attack.name),
            fix="take another attack, strength or metric",
        )
    return AttackedPairs(
        clean=originals,
        attacked=found,
        contents=[item.content for item in view.items],
        images=view.digest,
        entry=entry.digest,
        forwards=int(columns["forwards"].sum()),
        backwards=int(columns["backwards"].sum()),
    )


def refuse_leakage(data: Dataset) -> None:
    """Raise ConfigurationError for pictures of `JUDGED`: bundled sets by their contents, folders by their pixels."""
    judged = datasets.load(JUDGED)
    if ":" in data.name:
        shown = {_digest(judged.reference_pixels(index)) for index in range(len(judged))}
        leaks = any(_digest(data.pixels(index)) in shown for index in range(len(data)))
    else:
        leaks = bool({item.content for item in data.items} & {item.content for item in judged.items})
    if leaks:
        raise ConfigurationError(
            f"pictures of {JUDGED} are among the training images, and {JUDGED} is what defenses are judged on",
            where=Where(dataset=data.name),
            fix="train on another data set (leaves needs no files), or take these pictures out of the folder",
        )


def _digest(pixels: np.ndarray) -> tuple[tuple[int, ...], str]:
    return pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()
