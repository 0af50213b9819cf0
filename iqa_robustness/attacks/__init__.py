"""Adversarial attacks by name. A new attack is one file here and one line below."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.registry import Entry, Registry

if TYPE_CHECKING:
    from iqa_robustness.attacks.base import Attack

__all__ = ["STRENGTHS", "AttackEntry", "create", "list", "registry"]

STRENGTHS = ("weak", "medium", "strong")


@dataclass(frozen=True, kw_only=True)
class AttackEntry(Entry):
    """A registered attack.

    access: `white-box` or `black-box`, as its class declares (a test compares them); known without importing torch.
    """

    access: str = "white-box"


registry = Registry("attack", AttackEntry, "iqa_robustness.attacks")
for _entry in (
    AttackEntry(
        name="ifgsm",
        target="iqa_robustness.attacks.ifgsm:IFGSM",
        summary="iterated gradient signs within an l∞ ball",
        access="white-box",
    ),
    AttackEntry(
        name="nes",
        target="iqa_robustness.attacks.nes:NES",
        summary="gradient ascent with gradients estimated from queries, within an l∞ ball",
        access="black-box",
    ),
    AttackEntry(
        name="onepixel",
        target="iqa_robustness.attacks.onepixel:OnePixel",
        summary="a few pixels of any colour, found by differential evolution, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="parsimonious",
        target="iqa_robustness.attacks.parsimonious:Parsimonious",
        summary="greedy choice of blocks to raise or lower within an l∞ ball, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="patch-rs",
        target="iqa_robustness.attacks.patch_rs:PatchRS",
        summary="random search over the place and the colours of one square patch, score queries only",
        access="black-box",
    ),
    AttackEntry(
        name="square",
        target="iqa_robustness.attacks.square:Square",
        summary="random search over square patches within an l∞ ball, score queries only",
        access="black-box",
    ),
):
    registry.register(_entry)


def create(name: str, *, strength: str | None = None, **parameters: Any) -> Attack:
    """An attack with the parameters of a strength, or its own.

    Args:
        name: a registered name or `package.module:Class`.
        strength: `weak`, `medium` or `strong`; its values are the defaults that `parameters` override.
        parameters: fields of the attack.

    Raises:
        UnknownNameError: no such attack, strength or parameter.
        ConfigurationError: the name is no attack's, or a value is refused.
    """
    from iqa_robustness.attacks.base import Attack

    kind = registry.load(name)
    if not (isinstance(kind, type) and issubclass(kind, Attack)):
        raise ConfigurationError(f"{name!r} is no attack", fix="subclass iqa_robustness.attacks.base.Attack")
    chosen: dict[str, Any] = {}
    if strength is not None:
        if strength not in kind.strengths:
            raise UnknownNameError(f"strength of attack {name}", strength, kind.strengths)
        chosen = dict(kind.strengths[strength])
    known = {field.name for field in dataclasses.fields(kind)}
    for parameter in parameters:
        if parameter not in known:
            raise UnknownNameError(f"parameter of attack {name}", parameter, known)
    try:
        return kind(**{**chosen, **parameters})
    except TypeError as error:
        raise ConfigurationError(f"attack {name!r} cannot be constructed: {error}") from error


def list() -> tuple[AttackEntry, ...]:
    """All registered attacks, sorted by name."""
    return (*registry,)
