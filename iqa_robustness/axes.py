"""The axes of an experiment that have no registry, and what every cell says of itself."""

from __future__ import annotations

from typing import Protocol

SCENARIOS = ("clean", "nonadaptive", "adaptive", "certified", "soundness", "transfer")
"""No attack · an attack that knows the metric alone · one that knows the defense · a certified defense under attack ·
an attack inside the certified radius, on the certificate itself · an attack on another metric or another defense."""

GOALS = ("raise", "lower")
"""What the attacker wants of the reported quality."""


class Axes(Protocol):
    """Where a cell stands: what rules and reports match on."""

    @property
    def metric(self) -> str:
        """Name of the metric."""
        ...

    @property
    def defense(self) -> str:
        """Name of the defense."""
        ...

    @property
    def attack(self) -> str:
        """Name of the attack, empty without one."""
        ...

    @property
    def strength(self) -> str:
        """`weak`, `medium` or `strong`, empty without an attack."""
        ...

    @property
    def scenario(self) -> str:
        """One of `SCENARIOS`."""
        ...

    @property
    def goal(self) -> str:
        """One of `GOALS`."""
        ...
