"""`defenses.create` and `defenses.list`: names, parameters, and what is said when they are wrong."""

from __future__ import annotations

import pytest

from iqa_robustness import defenses
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.errors import ConfigurationError, UnknownNameError


def test_a_registered_name_makes_its_defense() -> None:
    assert defenses.create("jpeg") == JPEG()
    assert defenses.create("jpeg", quality=30) == JPEG(quality=30)
    assert defenses.create("iqa_robustness.defenses.purification.jpeg:JPEG", quality=30) == JPEG(quality=30)


def test_the_list_is_sorted_and_holds_every_name() -> None:
    names = [entry.name for entry in defenses.list()]
    assert names == sorted(names)
    assert {"none", "flip", "jpeg", "ms"} <= set(names)


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("jepg", {}, "unknown defense 'jepg'", "did you mean jpeg?"),
        ("flop", {}, "unknown defense 'flop'", "did you mean flip?"),
        ("jpeg", {"qualty": 3}, "unknown parameter of defense jpeg 'qualty'", "did you mean quality?"),
        ("ms", {"sgima": 3}, "unknown parameter of defense ms 'sgima'", "did you mean sigma"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(name: str, options: dict, message: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        defenses.create(name, **options)
    assert message in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "iqa_robustness.metrics.planted:Robust",
        "iqa_robustness.attacks.ifgsm:IFGSM",
        "iqa_robustness.defenses.adaptive:attack_protocol",
    ],
)
def test_what_is_no_defense_is_said_to_be_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no defense"):
        defenses.create(name)


def test_the_abstract_base_cannot_be_made() -> None:
    with pytest.raises(ConfigurationError, match="cannot be constructed"):
        defenses.create("iqa_robustness.defenses.base:Purification")


@pytest.mark.parametrize(
    ("name", "options"),
    [("jpeg", {"quality": 0}), ("jpeg", {"quality": "best"}), ("ms", {"sigma": -1}), ("ms", {"n": 0})],
)
def test_a_refused_value_is_a_configuration_error(name: str, options: dict) -> None:
    with pytest.raises(ConfigurationError):
        defenses.create(name, **options)
