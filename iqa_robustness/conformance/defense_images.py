"""What purified images must satisfy: the tensor contract, in any company, and that they show what they showed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from iqa_robustness.conformance.check import require
from iqa_robustness.conformance.defense_subject import DefenseSubject
from iqa_robustness.defenses.base import Purification
from iqa_robustness.metrics.scoring import transformed

SIZES = ((48, 64), (33, 47))
# Where pixels correspond, the least correlation with the image's own; elsewhere the largest change of a channel's mean.
# Bounds of the spread of values relative to the image's own.
_CORRELATION, _MEAN_CHANGE, _SPREAD = 0.7, 0.1, (0.5, 1.5)
_CLAMP = "clamp the result to [0, 1], and divide by nothing that can be zero"


def contract(subject: DefenseSubject) -> str:
    """Each variant purifies five pictures of each of two sizes."""
    for defense in subject.purifications:
        for size in SIZES:
            images = subject.extremes(*size, defense=defense)
            before = images.clone()
            purified = defense.purify(images, streams=subject.streams("abcde"))
            require(
                isinstance(purified, Tensor) and purified.dtype == torch.float32,
                f"purify returned {purified.dtype if isinstance(purified, Tensor) else type(purified).__name__} "
                f"({defense!r})",
                fix="return a float32 tensor",
            )
            kept = purified.shape == images.shape
            require(
                purified.shape[:2] == images.shape[:2] and (kept or not defense.keeps_geometry),
                f"purify made {tuple(purified.shape)} of {tuple(images.shape)} ({defense!r})",
                fix="keep number and channels of images; declare keeps_geometry = False to change height and width",
            )
            _check_range(purified, defense)
            require(
                torch.equal(images, before),
                f"purify changed its input in place ({defense!r})",
                fix="work on a copy",
            )
    return "black, white, grey, noise"


def between_levels(subject: DefenseSubject) -> str:
    """Each variant purifies two pictures of 17 x 18, or as large as it takes."""
    for defense in subject.purifications:
        size = subject.enough(defense, 17, 18)
        levels = np.random.RandomState(1).uniform(0, 1, (2, 3, *size)).astype(np.float32)
        images = torch.from_numpy(levels).to(subject.device)
        _check_range(defense.purify(images, streams=subject.streams("ab")), defense)
    return ""


def purified_company(subject: DefenseSubject) -> str:
    """Each variant purifies three photographs together, in another order, and one of them alone."""
    for defense in subject.purifications:
        images = subject.photographs(3, defense=defense)
        whole = transformed(defense.purify, images, size=2, streams=subject.streams("abc"))
        for rows in ([2, 0, 1], [1]):
            streams = subject.streams("".join("abc"[row] for row in rows))
            part = transformed(defense.purify, images[rows], size=2, streams=streams)
            difference = float((part - whole[rows]).abs().max())
            require(
                torch.equal(part, whole[rows]),
                f"in other company an image is purified into another one, by {difference:.2g} ({defense!r})",
                fix="draw from `streams`, one generator an image; let no image depend on another",
            )
    return "equal bits"


def recognisable(subject: DefenseSubject) -> str:
    """Each variant purifies three photographs of 96 x 128, or little more than its window."""
    for defense in subject.purifications:
        images = subject.photographs(3, *((1, 1) if subject.least(defense) else (96, 128)), defense=defense)
        purified = defense.purify(images, streams=subject.streams("abc"))
        before, after = images.flatten(1), purified.flatten(1)
        spread = after.std(dim=1) / before.std(dim=1)
        low, high = float(spread.min()), float(spread.max())
        if defense.keeps_geometry:
            alike = min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(before, after, strict=True))
            same, said = alike > _CORRELATION, f"a correlation of {alike:.2f} with itself"
        else:
            change = float((purified.mean(dim=(2, 3)) - images.mean(dim=(2, 3))).abs().max())
            same, said = change < _MEAN_CHANGE and high < _SPREAD[1], f"another mean by {change:.2g}"
        require(
            same and low > _SPREAD[0],
            f"a purified photograph has {said}, and {low:.2f} to {high:.2f} of its contrast ({defense!r})",
            fix="return the image in RGB and [0, 1], purified: the score of another image defends nothing",
        )
    return ""


def _check_range(purified: Tensor, defense: Purification) -> None:
    low, high = (float(bound) for bound in torch.aminmax(purified))
    require(low >= 0 and high <= 1, f"purified values reach from {low:.6g} to {high:.6g} ({defense!r})", fix=_CLAMP)
