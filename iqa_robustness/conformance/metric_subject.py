"""A metric to be checked: made without the network, asked in batches of any size, at sizes that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from iqa_robustness import metrics
from iqa_robustness.conformance.pictures import CONTENTS, LARGE, graded, graded_with_references, photographs
from iqa_robustness.errors import ConfigurationError, ConformanceError, ImageContractError, IqaRobustnessError, Where
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.offline import DownloadRefused, causes, guarded, not_cached
from iqa_robustness.metrics.probe import probe_references
from iqa_robustness.metrics.scoring import Scorer
from iqa_robustness.streams import Streams

_REFERENCES = 10
# Sides of a square picture, tried in this order; the profile `standard` has pictures of 384 × 512.
_SIDES = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384)


class MetricSubject:
    """A metric under the checks.

    Args:
        reference: as `metrics.create` takes it.
        device: torch device.
        options: of the metric's constructor.
    """

    def __init__(self, reference: str, *, device: str = "cpu", options: Mapping[str, Any] | None = None) -> None:
        self.reference = reference
        self.device = device
        self.options = dict(options or {})

    @cached_property
    def metric(self) -> Metric:
        """The metric, made now; see `construct`."""
        return self.construct()

    def construct(self) -> Metric:
        """Make the metric, with the network cut off for this thread.

        Raises:
            ConformanceError: its constructor asked for the network.
            ConfigurationError, WeightsError and others: what `metrics.create` raises, and what the constructor does.
        """
        try:
            with guarded():
                return metrics.create(self.reference, device=self.device, **self.options)
        except IqaRobustnessError:
            raise
        except Exception as error:  # somebody's constructor may fail with anything
            refuse_download(error, "the constructor asks")
            raise ConfigurationError(
                f"metric {self.reference!r} cannot be constructed: {type(error).__name__}: {error}",
                where=Where(metric=self.reference),
                fix="give what its constructor needs with --option NAME=VALUE",
            ) from error

    @cached_property
    def least(self) -> int:
        """The smallest side of a square picture, in pixels, among those tried, that the metric scores.

        Raises:
            ConformanceError: it takes none up to 384 x 384.
        """
        last: Exception = ImageContractError("no size was tried")
        for side in _SIDES:
            try:
                self.called(self.to_device(photographs(1, side, side)))
            except Exception as error:
                last = error
            else:
                return side
        raise ConformanceError(
            f"no picture up to {_SIDES[-1]} x {_SIDES[-1]} is scored: {type(last).__name__}: {last}",
            fix="forward takes (N, 3, H, W) float32 RGB in [0, 1]; scale images to the network's own size in it",
        ) from last

    def enough(self, height: int, width: int) -> tuple[int, int]:
        """The size, enlarged to what the metric takes."""
        return max(height, self.least), max(width, self.least)

    def pictures(self, count: int, size: tuple[int, int]) -> Tensor:
        """Photographs of at least that size, on the device."""
        return self.to_device(photographs(count, *self.enough(*size)))

    def to_device(self, images: Tensor) -> Tensor:
        """The images where the metric is."""
        return images.to(self.device)

    @cached_property
    def graded(self) -> Tensor:
        """(2, contents): scores of the best and of the worst quality level, 192 x 256 or more; eight forwards.

        A full-reference metric compares the mildest distortion and the worst with the best: the best is its own
        reference, and all of them would score alike.
        """
        size = self.enough(*LARGE)
        references = None
        if self.metric.spec.full_reference:
            *levels, best = graded_with_references(*size)
            references = self.to_device(torch.cat([best, best]))
        else:
            levels = [*graded(*size)]
        pictures = self.to_device(torch.cat(levels))
        return self.scores(pictures, references=references).view(2, len(CONTENTS)).cpu()

    def streams(self, rows: int | Sequence[int], key: str = "conformance") -> Streams:
        """Random streams of images that are called by their number."""
        names = [str(row) for row in (range(rows) if isinstance(rows, int) else rows)]
        return Streams(key, names, device=self.device)

    def called(self, images: Tensor, *, key: str = "conformance") -> Any:
        """What the metric itself returns for a batch as it is."""
        rows = range(len(images))
        with torch.no_grad():
            return self.metric.evaluate(
                images, streams=self.streams(rows, key), reference=self._references(images, rows)
            )

    def scores(
        self,
        images: Tensor,
        *,
        rows: Sequence[int] | None = None,
        micro_batch: int = 4,
        key: str = "conformance",
        references: Tensor | None = None,
    ) -> Tensor:
        """(N,) scores in padded micro-batches; `rows` are the images' numbers, 0, 1, … by default.

        A full-reference metric compares with `references`; with those of the numbers when None.
        """
        rows = range(len(images)) if rows is None else rows
        beside = self._references(images, rows) if references is None else references
        scorer = Scorer(metric=self.metric, micro_batch=micro_batch)
        return scorer.scores(images, streams=self.streams(rows, key), references=beside)

    def scores_and_gradients(
        self, images: Tensor, *, rows: Sequence[int] | None = None, micro_batch: int = 4
    ) -> tuple[Tensor, Tensor]:
        """(N,) scores and (N, 3, H, W) gradients in padded micro-batches; references as of `scores`."""
        rows = range(len(images)) if rows is None else rows
        scorer = Scorer(metric=self.metric, micro_batch=micro_batch)
        return scorer.scores_and_gradients(
            images, streams=self.streams(rows), references=self._references(images, rows)
        )

    def _references(self, images: Tensor, rows: Sequence[int]) -> Tensor | None:
        """For a full-reference metric, photographs at half of their contrast, by number and not by what is scored."""
        if not self.metric.spec.full_reference:
            return None
        whole = photographs(_REFERENCES, *images.shape[2:])
        return self.to_device(probe_references(whole[[row % _REFERENCES for row in rows]]))


def refuse_download(error: Exception, who: str) -> None:
    """Raise ConformanceError where an exception comes from the network's being cut off; do nothing otherwise."""
    wanted = next((cause.source for cause in causes(error) if isinstance(cause, DownloadRefused)), "")
    if not wanted and not not_cached(error):
        return
    raise ConformanceError(
        f"{who} for the network: {wanted or str(error).strip().partition(chr(10))[0]}",
        fix="ship the file with the package, or take its path as an argument (weights=PATH); fetch it once, before "
        "a run",
    ) from error
