"""How a measure is called, computed and limited."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from iqa_robustness.measures import Interval, mean_interval
from iqa_robustness.store import Record

ATTACKED = ("nonadaptive", "adaptive", "certified", "transfer")
"""Scenarios with an attack on the score."""

NOT_NEGATIVE, SHARE = (0.0, math.inf), (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class MeasureInfo:
    """How a measure is called and computed.

    compute: takes the record.      scenarios: where the measure applies.
    limits: least and most that the measure can be, in its unit; no interval leaves them.
    form: of certificates (`median`, `classification`), where the measure exists for one alone.
    """

    title: str
    unit: str
    compute: Callable[[Record], Interval]
    scenarios: tuple[str, ...]
    limits: tuple[float, float] = (-math.inf, math.inf)
    form: str = ""


def mean_of(values: Callable[[Record], np.ndarray]) -> Callable[[Record], Interval]:
    """The mean over images of a record's (N,) numbers."""
    return lambda record: mean_interval(values(record), record.contents)
