"""Views of labelled images for adversarial training: decoded one at a time, cut, mirrored, and damaged on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from iqa_robustness.compat import ensure_torchvision
from iqa_robustness.datasets.base import Dataset as Pictures
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.images import fit_pixels, from_uint8
from iqa_robustness.streams import seed_of
from iqa_robustness.training.adversarial_recipe import AdversarialRecipe
from iqa_robustness.training.examples import distorted

# Of the contents, as the published code has it: 7,058, 1,000 and 2,015 of KonIQ-10k's images.
SHARES = {"training": 0.70068, "validation": 0.09928, "test": 0.20004}
# Of the image's area that a damaged view shows: a square of 128 out of 299 x 299 is 0.7 to 2 times as fine.
_AREA, _ASPECT = (0.1, 0.8), (0.75, 4 / 3)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of a data set; no content is in two of the parts."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split(contents: Sequence[str], *, seed: int) -> Split:
    """Deal the contents into 70, 10 and 20 per cent, shuffled by the seed; each part has one at least.

    Raises:
        ConfigurationError: fewer than three contents.
    """
    names = sorted(set(contents))
    if len(names) < 3:
        raise ConfigurationError(
            f"{len(names)} contents are too few: training, validation and test need one each",
            fix="give more images, or a column `content` to those there are",
        )
    order = np.random.default_rng(seed_of(str(seed), "split")).permutation(len(names))
    kept = [max(1, round(SHARES[part] * len(names))) for part in ("validation", "test")]
    cuts = np.split(order, np.cumsum(kept))
    parts = {name: number for number, part in enumerate(cuts) for name in (names[place] for place in part)}
    rows = [tuple(row for row, content in enumerate(contents) if parts[content] == number) for number in range(3)]
    return Split(validation=rows[0], test=rows[1], training=rows[2])


class Views(Dataset[tuple[Tensor, Tensor]]):
    """Views of some rows of a data set: (3, H, W) float32 in [0, 1], and the label, a scalar.

    A view is drawn from the numbers of seed, purpose, epoch and view alone, whoever loads it, so that a training that
    goes on after an interruption, or on several machines, sees what it would have seen.

    Args:
        pictures: where pixels and opinions come from.
        rows: of them.
        recipe: size, side, views and damage.
        purpose: keeps the views of training and validation apart.
    """

    def __init__(self, pictures: Pictures, rows: Sequence[int], recipe: AdversarialRecipe, *, purpose: str) -> None:
        if not (recipe.side or recipe.size):
            raise ConfigurationError(
                "images of a batch have one size, and none is given", fix="give a size, a side, or both"
            )
        self.pictures, self.rows, self.recipe, self.purpose = pictures, rows, recipe, purpose
        self.epoch = 0
        self._augmented = _augmentation(recipe)

    def __len__(self) -> int:
        return len(self.rows) * self.recipe.views

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        row = self.rows[number % len(self.rows)]
        seed = seed_of(str(self.recipe.seed), self.purpose, str(self.epoch), str(number))
        pixels = self.pictures.pixels(row)
        if self.recipe.size is not None:
            pixels = fit_pixels(pixels, *self.recipe.size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            view: Tensor = self._augmented(torch.from_numpy(np.array(pixels)).permute(2, 0, 1))
        shown = view.permute(1, 2, 0).contiguous().numpy()
        if self.recipe.damage:
            shown = distorted(shown, np.random.default_rng(seed))
        return from_uint8(shown), torch.tensor(self.pictures.items[row].mos, dtype=torch.float32)


def _augmentation(recipe: AdversarialRecipe) -> Any:
    """uint8 (3, H, W) to the view."""
    try:
        ensure_torchvision()
        from torchvision.transforms import v2
    except (ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"adversarial training cuts its views with torchvision, which cannot be imported: {error}",
            fix="pip install torchvision, the version that goes with torch, or 'iqa-robustness[pyiqa]'",
        ) from error

    steps: list[Any] = [v2.RandomHorizontalFlip()]
    if recipe.side and recipe.damage:
        steps.insert(0, v2.RandomResizedCrop(recipe.side, scale=_AREA, ratio=_ASPECT, antialias=True))
    elif recipe.side:
        steps.insert(0, v2.RandomCrop(recipe.side, pad_if_needed=True, padding_mode="reflect"))
    return v2.Compose(steps)
