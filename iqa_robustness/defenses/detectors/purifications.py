"""The purifications that an expression such as `score-change:flip` may name."""

from __future__ import annotations

from collections.abc import Sequence

from iqa_robustness import defenses
from iqa_robustness.errors import ConfigurationError


def names() -> Sequence[str]:
    """The registered ones."""
    return [entry.name for entry in defenses.registry if entry.kind == "purification"]


def check(member: str) -> None:
    """Raise UnknownNameError for no defense, ConfigurationError for one that is no purification."""
    entry = defenses.registry.resolve(member)
    if entry.kind != "purification":
        raise ConfigurationError(
            f"{member!r} is no purification (its kind is {entry.kind})",
            fix="name a purification, or purifications joined by +",
        )
