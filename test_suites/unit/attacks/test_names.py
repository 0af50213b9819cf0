"""`attacks.create` and `attacks.list`: names, strengths and parameters, and what is said when they are wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from iqa_robustness import attacks
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.metrics import pyiqa_files
from iqa_robustness.metrics.weights import MANIFEST


def test_a_registered_name_makes_its_attack() -> None:
    assert attacks.create("ifgsm") == IFGSM()
    assert attacks.create("ifgsm", strength="weak") == IFGSM(**IFGSM.strengths["weak"])


def test_own_parameters_override_those_of_a_strength() -> None:
    assert attacks.create("ifgsm", strength="weak", alpha=0.01, steps=3) == IFGSM(alpha=0.01, steps=3)


def test_a_class_can_be_named_by_its_place() -> None:
    assert attacks.create("iqa_robustness.attacks.ifgsm:IFGSM", strength="strong") == attacks.create(
        "ifgsm", strength="strong"
    )


def test_the_list_is_sorted_and_holds_every_name() -> None:
    names = [entry.name for entry in attacks.list()]
    assert names == sorted(names)
    assert {"ifgsm", "square"} <= set(names)


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("ifgms", {}, "unknown attack 'ifgms'", "did you mean ifgsm"),
        ("ifgsm", {"strength": "medum"}, "unknown strength of attack ifgsm 'medum'", "did you mean medium?"),
        ("ifgsm", {"alhpa": 0.1}, "unknown parameter of attack ifgsm 'alhpa'", "did you mean alpha?"),
        ("square", {"strength": "brutal"}, "unknown strength", "medium, strong, weak"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(name: str, options: dict, message: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        attacks.create(name, **options)
    assert message in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "iqa_robustness.metrics.planted:Robust",
        "iqa_robustness.attacks.projections:Linf",
        "iqa_robustness.bench.proof:prove",
        "iqa_robustness.attacks:STRENGTHS",
    ],
)
def test_what_is_no_attack_is_said_to_be_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no attack"):
        attacks.create(name)


def test_the_abstract_base_cannot_be_made() -> None:
    with pytest.raises(ConfigurationError, match="cannot be constructed"):
        attacks.create("iqa_robustness.attacks.base:Attack")


@pytest.mark.parametrize("options", [{"epsilon": 4}, {"queries": "many"}])
def test_a_refused_value_is_a_configuration_error(options: dict) -> None:
    with pytest.raises(ConfigurationError):
        attacks.create("square", **options)


def test_an_attack_that_reads_no_files_is_available_and_an_unknown_one_is_unknown() -> None:
    assert attacks.available("ifgsm")
    assert attacks.available("iqa_robustness.attacks.ifgsm:IFGSM")
    with pytest.raises(UnknownNameError):
        attacks.available("ifgms")


def test_what_an_entry_names_as_its_weights_is_known() -> None:
    for entry in attacks.list():
        library, _, name = entry.weights.partition(":")
        assert entry.weights == "" or (library == "pyiqa" and name in pyiqa_files.FILES) or entry.weights in MANIFEST


def test_listing_names_does_not_import_torch() -> None:
    code = (
        "import sys, iqa_robustness as ir; [ir.attacks.available(entry.name) for entry in ir.attacks.list()];"
        "ir.defenses.list(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_every_registered_target_is_an_attack() -> None:
    for entry in attacks.list():
        assert issubclass(attacks.registry.load(entry.name), Attack)
