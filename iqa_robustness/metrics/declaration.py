"""What a metric that is no Python class says of itself: a few keys of JSON, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iqa_robustness.errors import ConfigurationError, MetricDeclarationError, Where
from iqa_robustness.metrics.base import MetricSpec, WeightsFile

EXAMPLE = '{"score_range": [0, 100], "higher_is_better": true}'
_KNOWN = ("score_range", "higher_is_better", "full_reference", "version", "licence", "input_policy")


def declared_spec(
    said: Mapping[str, Any],
    *,
    name: str,
    fix: str,
    file: str = "",
    input_policy: str,
    weights: tuple[WeightsFile, ...] = (),
) -> MetricSpec:
    """The spec of a query-only metric.

    Args:
        said: `score_range` ([low, high] in score units) and `higher_is_better` (true or false), both needed: neither
            can be guessed, and a wrong one turns verdicts around. `full_reference`: true or false, false without it.
            `version`, `licence`, `input_policy`: texts.
        name: the reference, as the user wrote it.
        fix: what to do when something is missing.
        file: where it was said, for messages.
        input_policy: where none is declared.
        weights: files that belong to the metric's identity.

    Raises:
        MetricDeclarationError: a key is missing, unknown, or has a value of another kind.
    """
    where = Where(metric=name, file=file)
    unknown = sorted(set(said) - set(_KNOWN))
    if unknown:
        raise MetricDeclarationError(
            f"the metric declares the unknown key {unknown[0]!r}", where=where, fix=f"known keys: {', '.join(_KNOWN)}"
        )
    for key in ("score_range", "higher_is_better"):
        if key not in said:
            raise MetricDeclarationError(f"the metric does not declare its {key}", where=where, fix=fix)
    scores, higher = said["score_range"], said["higher_is_better"]
    if not isinstance(scores, list) or len(scores) != 2 or not all(_is_number(bound) for bound in scores):
        raise MetricDeclarationError(f"score_range is {scores!r}, not [low, high]", where=where, fix=fix)
    compares = said.get("full_reference", False)
    for key, value in (("higher_is_better", higher), ("full_reference", compares)):
        if not isinstance(value, bool):
            raise MetricDeclarationError(f"{key} is {value!r}, not true or false", where=where, fix=fix)
    try:
        return MetricSpec(
            name=name,
            score_range=(float(scores[0]), float(scores[1])),
            higher_is_better=higher,
            full_reference=compares,
            access="query-only",
            version=str(said.get("version", "1")),
            licence=str(said.get("licence", "")),
            input_policy=str(said.get("input_policy", input_policy)),
            weights=weights,
        )
    except ConfigurationError as error:
        raise MetricDeclarationError(error.what, where=where, fix=error.fix) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
