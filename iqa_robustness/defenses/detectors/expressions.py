"""What may follow `detect-then-purify:`, namely DETECTOR:PURIFICATION."""

from __future__ import annotations

from collections.abc import Sequence

from iqa_robustness.defenses import detectors
from iqa_robustness.defenses.detectors import purifications
from iqa_robustness.errors import ConfigurationError


def names() -> Sequence[str]:
    """Every registered detector before every registered purification."""
    return [
        f"{detector}:{purification}"
        for detector in detectors.registry.names()
        for purification in purifications.names()
    ]


def check(member: str) -> None:
    """Raise UnknownNameError or ConfigurationError for anything else."""
    detector, purification = parted(member)
    detectors.registry.resolve(detector)
    purifications.check(purification)


def parted(member: str) -> tuple[str, str]:
    """Detector and purification of an expression: `score-change:flip:jpeg+unsharp` has `score-change:flip`.

    Raises:
        ConfigurationError: there is one name only.
    """
    detector, colon, purification = member.rpartition(":")
    if not colon or not detector:
        raise ConfigurationError(
            f"'detect-then-purify:{member}' does not say what detects and what purifies",
            fix="write, for one, detect-then-purify:score-change:jpeg; your own classes are given in Python",
        )
    return detector.strip(), purification.strip()
