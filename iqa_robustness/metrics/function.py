"""A metric out of a function `images -> scores`; `metrics.from_function` is the way to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from iqa_robustness.errors import ConfigurationError, ScoreShapeError, Where
from iqa_robustness.metrics.base import Metric, MetricSpec


class FunctionMetric(Metric):
    """Calls a function.

    Args:
        function: (N, 3, H, W) float32 RGB in [0, 1], and as much again for the references of a full-reference metric,
            to (N,) scores, a tensor or, query-only, what becomes one.
        spec: what the function's author declares.

    Raises:
        ConfigurationError: `function` cannot be called, or the access is unknown.
    """

    def __init__(self, function: Callable[..., Any], spec: MetricSpec) -> None:
        super().__init__()
        if not callable(function):
            raise ConfigurationError(
                f"metric {spec.name!r}: {type(function).__name__} is no function", fix="give images -> scores"
            )
        if spec.access not in ("white-box", "query-only"):
            raise ConfigurationError(
                f"metric {spec.name!r} declares access {spec.access!r}", fix="write white-box or query-only"
            )
        self.function = function
        self.spec = spec

    def forward(self, images: Tensor, *, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,). Raises ScoreShapeError where no numbers come back."""
        given = (images,) if reference is None else (images, reference)
        if self.spec.access == "white-box":
            scores: Tensor = self.function(*given)
            return scores
        with torch.no_grad():
            found = self.function(*(images.detach() for images in given))
        try:
            return torch.as_tensor(found, dtype=torch.float32, device=images.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ScoreShapeError(
                f"the function returned a {type(found).__name__} that is no row of numbers: {error}",
                where=Where(metric=self.spec.name),
                fix="return one number an image: a tensor, an array or a list",
            ) from error
