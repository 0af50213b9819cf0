"""`exec:COMMAND`: a metric that is a program in any language."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iqa_robustness.errors import MetricDeclarationError, ProgramAnswerError, ScoreShapeError, Where
from iqa_robustness.images import encode_png, to_uint8
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.declaration import EXAMPLE, declared_spec
from iqa_robustness.metrics.program import Program

# Seconds: to say what it is, and to score an image where the program declares no `timeout`.
DESCRIBE_TIMEOUT, SCORE_TIMEOUT = 60.0, 60.0
FIX = f'answer {{"request": "describe"}} with {EXAMPLE}'


class ExternalMetric(Metric):
    """Asks a program for scores; query-only.

    `{"request": "describe"}` is answered with the declaration: `score_range` and `higher_is_better`, and if it likes
    `full_reference` (true: it compares with references), `version`, `licence`, `input_policy`, `timeout` (seconds an
    image) and `persistent` (true: the program stays, and reads one request a line until its input ends).
    `{"request": "score", "images": [paths]}` is answered with `{"scores": [numbers]}` in the same order; a
    full-reference metric finds the paths of as many `references` beside them.

    Images: (N, 3, H, W) float32 RGB in [0, 1], rounded to 8 bits and written as PNG files into a temporary folder that
    is gone after the answer.
    Cost: a start of the program for each micro-batch unless it is persistent.

    Args:
        command: words as a POSIX shell splits them.
        timeout: seconds an image, instead of what the program declares.

    Raises:
        ConfigurationError: the program cannot be started.
        MetricDeclarationError: range or direction are missing or make no sense.
        ProgramTimeoutError, ProgramCrashError, ProgramAnswerError: from `program`.
    """

    def __init__(self, command: str, *, timeout: float | None = None) -> None:
        super().__init__()
        name = f"exec:{command}"
        self.program = Program(command, name=name)
        said = self.program.ask({"request": "describe"}, timeout=DESCRIBE_TIMEOUT)
        declared = said.pop("timeout", SCORE_TIMEOUT)
        persistent = said.pop("persistent", False)
        if isinstance(declared, bool) or not isinstance(declared, int | float) or not declared > 0:
            raise MetricDeclarationError(
                f"timeout is {declared!r}, not a positive number", where=Where(metric=name), fix="give seconds an image"
            )
        if not isinstance(persistent, bool):
            raise MetricDeclarationError(
                f"persistent is {persistent!r}, not true or false", where=Where(metric=name), fix="leave it out"
            )
        self.timeout = float(declared) if timeout is None else timeout
        self.spec = declared_spec(said, name=name, fix=FIX, input_policy="any size, rounded to 8 bits")
        self.program.persistent = persistent

    def forward(self, images: Tensor, *, reference: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to (N,) without a graph; `null` and NaN become NaN. Raises as the class, and ScoreShapeError."""
        with tempfile.TemporaryDirectory(prefix="iqa-robustness-") as folder:
            request: dict[str, Any] = {"request": "score", "images": _written(images, Path(folder), "")}
            if reference is not None:
                request["references"] = _written(reference, Path(folder), "reference-")
            answer = self.program.ask(request, timeout=self.timeout * len(images))
        return torch.tensor(self._scores(answer, len(images)), dtype=torch.float32, device=images.device)

    def _scores(self, answer: dict[str, Any], count: int) -> list[float]:
        where = Where(metric=self.spec.name)
        scores = answer.get("scores")
        if not isinstance(scores, list) or any(
            isinstance(score, bool) or not isinstance(score, int | float | None) for score in scores
        ):
            raise ProgramAnswerError(
                f'the program\'s answer holds no list of numbers under "scores": {str(answer)[:200]}',
                where=where,
                fix='answer {"scores": [number, …]}, one number an image, in the order of the request',
            )
        if len(scores) != count:
            raise ScoreShapeError(
                f"the program returned {len(scores)} scores for {count} images",
                where=where,
                fix="score every path of the request, in its order, also where images look alike",
            )
        return [float("nan") if score is None else float(score) for score in scores]


def _written(images: Tensor, folder: Path, prefix: str) -> list[str]:
    """The paths of the images' PNG files, made now."""
    paths = [folder / f"{prefix}{number}.png" for number in range(len(images))]
    for path, pixels in zip(paths, to_uint8(images), strict=True):
        path.write_bytes(encode_png(pixels))
    return [str(path) for path in paths]
