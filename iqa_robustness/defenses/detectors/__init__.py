"""Detectors by name. A new detector is one file here and one line below."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Family, Registry

if TYPE_CHECKING:
    from iqa_robustness.defenses.detectors.base import Detector

__all__ = ["create", "list", "registry"]

registry = Registry("detector", Entry, "iqa_robustness.detectors")
for _entry in (
    Entry(
        name="feature-squeezing",
        target="iqa_robustness.defenses.detectors.feature_squeezing:FeatureSqueezing",
        summary="the largest score change under fewer levels and a median blur",
    ),
    Entry(
        name="score-change",
        target="iqa_robustness.defenses.detectors.score_change:ScoreChange",
        summary="how far one purification (jpeg) moves the score",
    ),
):
    registry.register(_entry)
registry.register_family(
    Family(
        entry=Entry(
            name="score-change",
            target="iqa_robustness.defenses.detectors.score_change:under",
            summary="how far the named purification moves the score: score-change:flip, score-change:jpeg+flip",
        ),
        catalogue="iqa_robustness.defenses.detectors.purifications",
    )
)


def create(name: str, **parameters: Any) -> Detector:
    """A detector with its default or own parameters.

    Args:
        name: a registered name, `score-change:PURIFICATION`, or `package.module:Class`.
        parameters: fields of the detector.

    Raises:
        UnknownNameError: no such detector, purification or parameter.
        ConfigurationError: the name is no detector's, or a value is refused.
    """
    from iqa_robustness.defenses.detectors.base import Detector

    factory = registry.load(name)
    kind = factory.func if isinstance(factory, partial) else factory
    if isinstance(kind, type) and issubclass(kind, Detector):
        known = {field.name for field in dataclasses.fields(kind)}
        for parameter in parameters:
            if parameter not in known:
                raise UnknownNameError(f"parameter of detector {name}", parameter, known)
    elif registry.family(name) is None:
        raise ConfigurationError(
            f"{name!r} is no detector", fix="subclass iqa_robustness.defenses.detectors.base.Detector"
        )
    try:
        made: Detector = factory(**parameters)
    except TypeError as error:
        raise ConfigurationError(f"detector {name!r} cannot be constructed: {error}") from error
    return made


def list() -> tuple[Entry, ...]:
    """All registered detectors, sorted by name."""
    return (*registry,)
