"""`defenses.create` and `defenses.list`: names, parameters, and what is said when they are wrong."""

from __future__ import annotations

import pytest

from iqa_robustness import defenses
from iqa_robustness.defenses.purification.composition import Composition
from iqa_robustness.defenses.purification.flip import Flip
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
        ("jepg", {}, "unknown defense 'jepg'", "did you mean jpeg or"),
        ("flip+jepg", {}, "unknown defense 'jepg'", "did you mean jpeg or"),
        ("jpeg+flip", {"pper": True}, "unknown parameter of defense jpeg+flip 'pper'", "did you mean paper?"),
        ("flop", {}, "unknown defense 'flop'", "did you mean flip or"),
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


def test_joined_names_make_a_composition_in_their_order() -> None:
    assert defenses.create("jpeg+flip") == Composition(parts=(JPEG(), Flip()))
    assert defenses.create(" jpeg + flip ", paper=True) == Composition(parts=(JPEG(), Flip()), paper=True)
    own = "iqa_robustness.defenses.purification.flip:Flip"
    assert defenses.create(f"{own}+jpeg") == defenses.create("flip+jpeg")


@pytest.mark.parametrize("name", ["flip+none", "none+flip", "ms+jpeg", "iqa_robustness.metrics.planted:Robust+flip"])
def test_only_purifications_are_joined(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no purification|is no defense"):
        defenses.create(name)


@pytest.mark.parametrize("name", ["flip+", "+flip", "+", "flip++jpeg"])
def test_a_missing_part_is_an_unknown_name(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown defense ''"):
        defenses.create(name)


def test_the_parts_of_joined_names_are_not_given_twice() -> None:
    with pytest.raises(UnknownNameError, match="'parts'"):
        defenses.create("flip+jpeg", parts=(Flip(), Flip()))


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
