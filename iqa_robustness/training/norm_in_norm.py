"""The norm-in-norm loss: scores and labels are compared after both are brought to mean 0 and norm 1 over the batch."""

from __future__ import annotations

import torch
from torch import Tensor

# Keeps a batch of equal scores from dividing by zero.
_EPSILON = 1e-8


def normalised(values: Tensor, *, q: float = 2.0) -> Tensor:
    """(N,) to (N,): less the mean, over the q-norm of what is left."""
    centred = values - values.mean()
    normed: Tensor = centred / (torch.linalg.vector_norm(centred, q) + _EPSILON)
    return normed


def scale(count: int, *, p: float = 1.0, q: float = 2.0) -> float:
    """The largest that the p-norm of the difference of two normalised vectors of `count` values can be, or more."""
    return float(2 ** max(1.0, 1 / q) * count ** max(0.0, 1 / p - 1 / q))


def errors(scores: Tensor, labels: Tensor, *, p: float = 1.0, q: float = 2.0) -> Tensor:
    """What each image adds to the loss, (N,); their sum is the loss. Each depends on the batch."""
    difference = (normalised(scores, q=q) - normalised(labels, q=q)).abs()
    return (difference / scale(len(scores), p=p, q=q)) ** p


def norm_in_norm(scores: Tensor, labels: Tensor, *, p: float = 1.0, q: float = 2.0) -> Tensor:
    """A scalar, 0 for labels that are a rising linear function of the scores; at most 1.

    Source: Li, Jiang, Jiang, ACM MM 2020 (arXiv 2008.03889); the benchmark's adversarial training takes p = 1, q = 2.

    Args:
        scores: (N,), any scale.
        labels: (N,), any scale.
        p: of the norm that compares.
        q: of the norm that normalises.
    """
    return errors(scores, labels, p=p, q=q).sum()
