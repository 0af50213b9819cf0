"""Scores in fixed-size, zero-padded micro-batches, so that an image's number does not depend on its companions.

On a CPU a batch of one and a batch of two are not bit-equal, nor one thread and two; a batch of constant size is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from iqa_robustness.errors import MetricContractError, NonFiniteScoreError, ScoreShapeError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.streams import Streams


def in_micro_batches(
    images: Tensor, *, size: int, streams: Streams | None = None
) -> Iterator[tuple[Tensor, range, Streams | None]]:
    """Cut images into batches of exactly `size` rows, the last one filled with zero images.

    Yields:
        The batch (size, 3, H, W), the rows of `images` it holds, and one random stream for each of its rows.
    """
    for start in range(0, len(images), size):
        rows = range(start, min(start + size, len(images)))
        batch = _padded(images[start : rows.stop], size)
        yield batch, rows, streams.select(rows).padded(size) if streams is not None else None


def transformed(
    function: Callable[..., Tensor], images: Tensor, *, size: int, streams: Streams | None = None
) -> Tensor:
    """`function(batch, streams=…)` over padded micro-batches, without a graph; the padding's results are dropped."""
    with torch.inference_mode():
        parts = [
            function(batch, streams=noise)[: len(rows)]
            for batch, rows, noise in in_micro_batches(images, size=size, streams=streams)
        ]
    # Tensors made in inference mode may not enter a graph later; a copy may.
    return torch.cat(parts).clone() if parts else images


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Evaluates a metric under its contract.

    metric: in eval mode, its parameters frozen.
    micro_batch: rows of every forward pass; shorter batches are filled with zero images.
    """

    metric: Metric
    micro_batch: int

    def scores(self, images: Tensor, *, streams: Streams | None = None, references: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,) scores without a graph. One forward an image.

        Args:
            images: what is scored.
            streams: noise of a stochastic metric, and names for errors.
            references: (N, 3, H, W), what a full-reference metric compares with; other metrics do not see them.

        Raises:
            ScoreShapeError, NonFiniteScoreError: the metric breaks its contract; `streams` name the image.
        """
        parts = []
        for batch, rows, noise in in_micro_batches(images, size=self.micro_batch, streams=streams):
            with torch.inference_mode():
                found = self._forward(batch, noise, rows, references)
                parts.append(self._checked(found, len(batch), rows, streams)[: len(rows)])
        return torch.cat(parts).clone() if parts else images.new_empty(0)

    def scores_and_gradients(
        self,
        images: Tensor,
        *,
        streams: Streams | None = None,
        references: Tensor | None = None,
        factors: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) to (N,) scores and (N, 3, H, W) gradients of each image's own score; arguments as of `scores`.

        One forward and one backward an image; no graph is kept. A score that does not depend on its image at all has
        a zero gradient, as has one that was computed outside the graph.

        Args:
            factors: (M,) scores to the (M,) numbers that their gradients are multiplied with: the outer derivative.
        """
        all_scores = []
        # In the images' own layout: steps of an attack over two layouts take twice as long.
        gradients = torch.empty_like(images, memory_format=torch.contiguous_format)
        for batch, rows, noise in in_micro_batches(images, size=self.micro_batch, streams=streams):
            with torch.enable_grad():
                leaf = batch.detach().requires_grad_(True)
                scores = self._checked(self._forward(leaf, noise, rows, references), len(batch), rows, streams)
                gradient = None
                if scores.requires_grad:
                    (gradient,) = torch.autograd.grad(scores.sum(), leaf, allow_unused=True)
            found, part = scores.detach()[: len(rows)], gradients[rows.start : rows.stop]
            if gradient is None:
                part.zero_()
            elif factors is None:
                part.copy_(gradient[: len(rows)])
            else:  # at once: each further pass over the pictures costs a small metric time
                torch.mul(gradient[: len(rows)], factors(found)[:, None, None, None], out=part)
            all_scores.append(found)
        return (torch.cat(all_scores) if all_scores else images.new_empty(0)), gradients

    def _forward(self, batch: Tensor, noise: Streams | None, rows: range, references: Tensor | None) -> Tensor:
        if references is not None and self.metric.spec.full_reference:
            references = _padded(references[rows.start : rows.stop], len(batch))
        try:
            return self.metric.evaluate(batch, streams=noise, reference=references)
        except MetricContractError as error:  # a program that crashes does not know what its images are called
            names = noise.ids[: len(rows)] if noise is not None else [f"number {row} of the batch" for row in rows]
            raise error.at(image=", ".join(names)) from error.__cause__

    def _checked(self, scores: Tensor, size: int, rows: range, streams: Streams | None) -> Tensor:
        where = Where(metric=self.metric.spec.name)
        if not isinstance(scores, Tensor) or tuple(scores.shape) != (size,):
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ScoreShapeError(
                f"the metric returned {got} for {size} images; one score an image, shape ({size},), is expected",
                where=where,
                fix="flatten the last axis (scores.flatten(1).squeeze(1)); do not average over the batch",
            )
        finite = torch.isfinite(scores[: len(rows)].detach())
        if not bool(finite.all()):
            first = rows[int((~finite).nonzero()[0])]
            name = streams.ids[first] if streams is not None else f"number {first} of the batch"
            raise NonFiniteScoreError(
                f"the metric returned {float(scores[first - rows.start].detach())} for an image",
                where=where.completed(image=name),
                fix="look for a division by zero, a logarithm or a square root of zero in the metric's forward",
            )
        return scores


def _padded(images: Tensor, size: int) -> Tensor:
    """The images and, up to `size` rows, zero images."""
    if len(images) == size:
        return images
    return torch.cat([images, images.new_zeros((size - len(images), *images.shape[1:]))])
