"""What attacks and defenses declare alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.conformance.declared import check_identity, declared_fields
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import ConfigurationError, ConformanceError


@dataclass(frozen=True, kw_only=True)
class Setting:
    name: ClassVar[str] = "setting"
    version: ClassVar[int] = 1
    size: int = 3
    weights: tuple[float, ...] = (0.5, 0.5)


class Constant(Setting):
    """Has nothing of its own but a class variable."""

    scale: ClassVar[float] = 2.0


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Setting, {"size", "weights"}),
        (Constant, {"size", "weights"}),
        (IFGSM, {"paper", "alpha", "steps", "epsilon"}),
        (JPEG, {"paper", "quality"}),
    ],
)
def test_fields_are_the_parameters(kind: type, fields: set[str]) -> None:
    assert declared_fields(kind) == fields


@pytest.mark.parametrize(("name", "version"), [("", 1), (None, 1), ("x", 0), ("x", "1"), ("x", None)])
def test_a_name_and_a_whole_version_are_needed(name: object, version: object) -> None:
    kind = type("Kind", (Setting,), {"name": name, "version": version})
    with pytest.raises(ConformanceError, match="declares no name" if not name else "version is"):
        declared_fields(kind)


def test_a_parameter_of_an_undecorated_class_is_noticed() -> None:
    class Lost(Setting):
        strength: float = 1.0
        _table: ClassVar[dict[str, int]] = {}

    with pytest.raises(ConformanceError, match="strength looks like a parameter, and is none") as caught:
        declared_fields(Lost)
    assert "@dataclass(frozen=True, kw_only=True)" in caught.value.fix


def test_an_object_that_is_its_parameters_passes() -> None:
    check_identity(Setting(size=4), Setting(size=4))
    check_identity(IFGSM(steps=3), IFGSM(steps=3))


def test_other_parameters_are_another_object() -> None:
    with pytest.raises(ConformanceError, match="not equal"):
        check_identity(Setting(size=4), Setting(size=5))


@dataclass(frozen=True, kw_only=True)
class Hidden(Setting):
    secret: int = field(default=1, repr=False)


@dataclass(frozen=True, kw_only=True)
class Unwritable(Setting):
    value: Any = 1j


def test_a_parameter_that_does_not_show_is_noticed() -> None:
    with pytest.raises(ConformanceError, match="do not show all"):
        check_identity(Hidden(), Hidden())


def test_a_parameter_that_no_key_can_hold_is_noticed() -> None:
    with pytest.raises(ConfigurationError, match="JSON values only"):
        check_identity(Unwritable(), Unwritable())
