"""Support vector regression from the text files that LIBSVM writes, with gradients."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError, Where


class SupportVectorRegression(nn.Module):
    """Σ coefficient · exp(−γ |x − vector|²) − ρ, of features scaled to the range the model was trained on.

    A value beyond its training range is scaled beyond [low, high], as `svm-scale -r` does; nothing is clamped. The
    tools write six digits between one another; here nothing is rounded.

    Source: Chang and Lin, ACM TIST 2011. Values are float64.

    Args:
        model: what `svm-train` wrote: epsilon-SVR or nu-SVR with the RBF kernel.
        ranges: what `svm-scale -s` wrote, features only.
        metric: the metric to name in errors.

    Raises:
        WeightsError: a file is missing, garbled, of another kind, or the two do not belong together.
    """

    def __init__(self, model: Path, ranges: Path, *, metric: str) -> None:
        super().__init__()
        low, high, bounds = _read_ranges(ranges, metric)
        coefficients, vectors, self.gamma, self.rho = _read_model(model, metric, features=len(bounds))
        lowest, highest = bounds.unbind(dim=1)
        # svm-scale leaves a feature out that was constant in training: the sparse format then reads it as 0.
        varies = highest > lowest
        factor = torch.where(varies, (high - low) / (highest - lowest), 0.0)
        self.coefficients: Tensor
        self.vectors: Tensor
        self.factor: Tensor
        self.offset: Tensor
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("vectors", vectors)
        self.register_buffer("factor", factor)
        self.register_buffer("offset", torch.where(varies, low - lowest * factor, 0.0))

    @property
    def features(self) -> int:
        """How many features a sample has."""
        return len(self.factor)

    def forward(self, features: Tensor) -> Tensor:
        """(N, features) unscaled to (N,)."""
        scaled = features * self.factor + self.offset
        distances = (scaled[:, None] - self.vectors).square().sum(dim=-1)
        return (self.coefficients * (-self.gamma * distances).exp()).sum(dim=-1) - self.rho


def _read_ranges(path: Path, metric: str) -> tuple[float, float, Tensor]:
    """The target interval, and (features, 2) lowest and highest values; an unlisted feature never varied."""
    lines = _lines(path, metric)
    try:
        if lines[0] != "x":
            raise ValueError(f"the first line is {lines[0]!r}, not 'x'")
        low, high = (float(word) for word in lines[1].split())
        listed = {int(number): (float(least), float(most)) for number, least, most in map(str.split, lines[2:])}
        if min(listed) < 1:
            raise ValueError("features are counted from 1")
        bounds = [listed.get(number, (0.0, 0.0)) for number in range(1, max(listed) + 1)]
    except (ValueError, IndexError) as error:
        raise _garbled(path, metric, "a range file of svm-scale", error) from error
    return low, high, torch.tensor(bounds, dtype=torch.float64)


def _read_model(path: Path, metric: str, *, features: int) -> tuple[Tensor, Tensor, float, float]:
    """Coefficients (S,), support vectors (S, features), gamma and rho."""
    lines = _lines(path, metric)
    try:
        start = lines.index("SV") + 1
        header = dict(line.split(maxsplit=1) for line in lines[: start - 1])
        if header["svm_type"] not in ("epsilon_svr", "nu_svr") or header["kernel_type"] != "rbf":
            raise ValueError(f"it is a {header['svm_type']} with kernel {header['kernel_type']}, not an SVR with RBF")
        rows = [line.split() for line in lines[start:]]
        if len(rows) != int(header["total_sv"]):
            raise ValueError(f"it holds {len(rows)} support vectors, its header says {header['total_sv']}")
        vectors = torch.zeros(len(rows), features, dtype=torch.float64)
        for row, (_, *entries) in enumerate(rows):
            for number, value in (entry.split(":") for entry in entries):
                if not 1 <= int(number) <= features:
                    raise ValueError(
                        f"support vector {row + 1} has feature {number}, the range file ends at {features}"
                    )
                vectors[row, int(number) - 1] = float(value)
        coefficients = torch.tensor([float(row[0]) for row in rows], dtype=torch.float64)
        return coefficients, vectors, float(header["gamma"]), float(header["rho"])
    except (ValueError, KeyError) as error:
        raise _garbled(path, metric, "a model of svm-train", error) from error


def _lines(path: Path, metric: str) -> list[str]:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise _garbled(path, metric, "readable text", error) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _garbled(path: Path, metric: str, kind: str, error: Exception) -> WeightsError:
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return WeightsError(
        f"{path.name} is not {kind}: {reason}",
        where=Where(metric=metric, file=str(path)),
        fix="take the file as its authors published it",
    )
