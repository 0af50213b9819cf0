"""Protocol names say how an attack got through: directly, by a surrogate's slope, by averaging draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from iqa_robustness import defenses
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.purification.color_quantization import ColorQuantization
from iqa_robustness.defenses.purification.composition import Composition
from iqa_robustness.defenses.purification.diffjpeg import DiffJPEG
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.defenses.purification.random_noise import RandomNoise
from iqa_robustness.defenses.purification.unsharp import Unsharp

THREE = "bpda-diffjpeg+bpda-identity+bpda-soft-rounding"


@dataclass(frozen=True, kw_only=True)
class Both(JPEG):
    """Random and without a slope."""

    stochastic: ClassVar[bool] = True
    surrogate_name: ClassVar[str] = "identity"


@pytest.mark.parametrize(
    ("defense", "white_box", "name"),
    [
        (Undefended(), True, "direct"),
        (Flip(), True, "direct"),
        (Flip(), False, "direct"),
        (JPEG(), True, "bpda-diffjpeg"),
        (JPEG(), False, "direct"),
        (MedianSmoothing(), True, "eot-5"),
        (MedianSmoothing(), False, "eot-5"),
        (Composition(parts=(Flip(), Unsharp())), True, "direct"),
        (Composition(parts=(JPEG(), ColorQuantization(), DiffJPEG(), JPEG())), True, THREE),
        (Composition(parts=(JPEG(), ColorQuantization())), False, "direct"),
        (Composition(parts=(RandomNoise(), JPEG())), True, "bpda-diffjpeg+eot-5"),
        (Composition(parts=(JPEG(), RandomNoise())), False, "eot-5"),
        (DiffJPEG(paper=True), True, "bpda-straight-through"),
        (Both(), True, "bpda-identity+eot-5"),
        (Both(), False, "eot-5"),
    ],
)
def test_the_protocol_names_the_ways_through_a_defense(defense: Any, white_box: bool, name: str) -> None:
    assert attack_protocol(defense, draws=5, white_box=white_box) == name


def test_a_metric_that_draws_is_averaged_over_too() -> None:
    assert attack_protocol(Undefended(), draws=3, white_box=True, stochastic_metric=True) == "eot-3"
    assert attack_protocol(JPEG(), draws=3, white_box=True, stochastic_metric=True) == "bpda-diffjpeg+eot-3"


def test_every_registered_defense_has_a_protocol() -> None:
    for entry in defenses.list():
        defense = defenses.create(entry.name)
        parts = attack_protocol(defense, draws=4, white_box=True).split("+")
        assert ("eot-4" in parts) is defense.stochastic
        assert any(part.startswith("bpda-") for part in parts) is not defense.differentiable
