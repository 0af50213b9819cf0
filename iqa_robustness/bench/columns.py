"""What a stage says of each of its images: named NumPy columns, kept as one file of safetensors."""

from __future__ import annotations

import numpy as np
import safetensors.numpy
from torch import Tensor

from iqa_robustness.store import Entry

Columns = dict[str, np.ndarray]
VALUES = "values.safetensors"


def array(values: Tensor) -> np.ndarray:
    """On the CPU; float32 as float64."""
    found: np.ndarray = values.detach().cpu().numpy()
    return found.astype(np.float64) if found.dtype == np.float32 else found


def joined(parts: list[Columns]) -> Columns:
    """The rows of all parts, which have the same columns."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mean_trace(traces: list[tuple[int, tuple[float, ...]]]) -> np.ndarray:
    """Mean over images of traces that are means over chunks; cut to the shortest where images stopped early."""
    length = min((len(trace) for _, trace in traces), default=0)
    total = sum(count for count, _ in traces)
    return sum((count / total) * np.asarray(trace[:length], np.float64) for count, trace in traces) + np.zeros(length)


def packed(columns: Columns) -> bytes:
    """The file's content."""
    return safetensors.numpy.save({name: np.ascontiguousarray(values) for name, values in columns.items()})


def unpacked(entry: Entry) -> Columns:
    """The columns of an entry of the store."""
    return safetensors.numpy.load(entry.read(VALUES))
