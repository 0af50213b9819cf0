"""What is left of a gain in a file: scores of clean and attacked images after encoders that pictures commonly meet."""

from __future__ import annotations

from typing import Any

import numpy as np

from iqa_robustness.bench.pair import Pair
from iqa_robustness.bench.sources import Clean, Encoded, Source
from iqa_robustness.bench.stages import Stages
from iqa_robustness.encoders import Encoder, JpegFile, Thumbnail
from iqa_robustness.store import document_of

# The quality that Pillow and libjpeg write unless told otherwise; half the size, as a page or a phone shows it.
ENCODERS: tuple[Encoder, ...] = (JpegFile(quality=75), Thumbnail(scale=0.5))


def is_measured(scenario: str, defense_kind: str) -> bool:
    """Whether a cell has these scores: attacks on the bare metric, once, not again behind each defense."""
    return scenario == "nonadaptive" and defense_kind == "none"


def documents() -> dict[str, Any]:
    """The encoders as JSON for keys and records, by name."""
    return {encoder.name: document_of(encoder) for encoder in ENCODERS}


def encoded_scores(stages: Stages, pair: Pair, attacked: Source, clean: Clean, *, seed: int) -> dict[str, np.ndarray]:
    """Columns of a record: `clean_NAME` and `attacked_NAME` for each encoder, (N,) score units.

    A forward an image and encoder; the clean images' are shared by all attacks on the metric.
    """
    return {
        f"{state}_{encoder.name}": stages.scores(pair, Encoded(source, encoder), clean, seed=seed)["scores"]
        for encoder in ENCODERS
        for state, source in (("clean", clean), ("attacked", attacked))
    }
