"""Codec: its gain outlasts the encoders, in every direction and on every kind of metric, at exact cost."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks, datasets, metrics
from iqa_robustness.attacks.codec import Codec
from iqa_robustness.attacks.objectives import LOWER, RAISE, Goal, Towards
from iqa_robustness.datasets.base import view
from iqa_robustness.encoders import Encoder, JpegFile, Lossless, Thumbnail
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import survives_encode
from iqa_robustness.metrics.base import Metric, MetricSpec
from iqa_robustness.metrics.planted import Vulnerable

WAYS = Codec().encoders


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    return view(datasets.load("mini"), count=4, size=(96, 128)).batch(range(4))


def gains(metric: Metric, clean: Tensor, attacked: Tensor, way: Encoder) -> Tensor:
    with torch.no_grad():
        gain: Tensor = metric(way.encode(attacked)) - metric(way.encode(clean))
    return gain / metric.spec.diam


def rate(gained: list[Tensor]) -> float:
    """Share of images whose gain as they are survives in the gain after an encoder."""
    before, after = gained
    return survives_encode(torch.zeros_like(before), before, torch.zeros_like(after), after)


# --- that it outlasts -----------------------------------------------------------------------------------------------


def test_on_a_network_more_of_its_gain_outlasts_each_encoder_than_of_an_attack_that_does_not_know_them(
    photographs: Tensor,
) -> None:
    metric = metrics.create("compact")
    found = {}
    for name in ("apgd", "codec"):
        images = attacks.create(name, strength="medium", steps=12)(metric, photographs).images
        found[name] = [gains(metric, photographs, images, way) for way in WAYS]
    for plain, robust in zip(found["apgd"][1:], found["codec"][1:], strict=True):
        assert float(robust.mean()) > 1.5 * float(plain.mean())
    assert all(float(gain.mean()) > 0.05 for gain in found["codec"])
    assert rate(found["codec"][:2]) > rate(found["apgd"][:2])


class Flat(Metric):
    """The mean of all values, in per cent: what no encoder of ours takes away."""

    spec = MetricSpec(name="flat", score_range=(0.0, 100.0))

    def forward(self, images: Tensor) -> Tensor:
        return 100 * images.mean(dim=(1, 2, 3))


def test_where_nothing_is_lost_on_the_way_it_reaches_the_optimum(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, 32, 48)
    result = Codec(epsilon=4 / 255)(Flat(), clean)
    assert (result.values - result.clean_values).tolist() == pytest.approx([4 / 255] * 3, rel=0.02)
    assert all(rate([gains(Flat(), clean, result.images, way) for way in (WAYS[0], lossy)]) == 1 for lossy in WAYS[1:])


# --- the attack's contract ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", [RAISE, LOWER])
@pytest.mark.parametrize("higher", [True, False])
def test_it_raises_and_lowers_metrics_of_either_direction(toys: SimpleNamespace, goal: Goal, higher: bool) -> None:
    metric, clean = toys.Linear(toys.gaussian(32, 32, scale=0.002), higher_is_better=higher), toys.pictures(2, 32, 32)
    result = Codec(steps=6)(metric, clean, goal=goal)
    wanted = 1 if (goal == RAISE) == higher else -1
    for way in WAYS:
        assert (wanted * gains(metric, clean, result.images, way) > 0).all()


def test_a_target_is_reached_through_the_encoders(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, 32, 32)
    start = Flat()(clean)
    goal = Towards(score=float(start.mean()) + 0.8)
    result = Codec()(Flat(), clean, goal=goal)
    assert (result.values >= -goal.tolerance).all()
    assert int(result.forwards.max()) < 3 * Codec().steps


class Distance(Metric):
    """Mean squared distance to the reference, lower is better."""

    spec = MetricSpec(name="distance", score_range=(0.0, 0.01), higher_is_better=False, full_reference=True)

    def forward(self, images: Tensor, *, reference: Tensor) -> Tensor:
        return (images - reference).square().mean(dim=(1, 2, 3))


def test_a_full_reference_metric_compares_with_the_reference_as_it_is(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 32, 32)
    references = (clean + 10 / 255).clamp(0, 1)
    result = Codec(steps=8)(Distance(), clean, references=references)
    ways = [-Distance()(way.encode(result.images), reference=references) / 0.01 for way in WAYS]
    assert torch.allclose(result.values, torch.stack(ways).mean(dim=0), atol=1e-5)
    assert (result.values > result.clean_values + 0.01).all()


def test_an_image_that_is_its_own_reference_can_be_made_worse(toys: SimpleNamespace) -> None:
    result = Codec(steps=5)(Distance(), toys.pictures(2, 32, 32), goal=LOWER)
    assert (result.values > result.clean_values).all()


@pytest.mark.parametrize("strength", attacks.STRENGTHS)
def test_it_stays_within_its_levels_before_the_encoder(toys: SimpleNamespace, strength: str) -> None:
    clean = toys.pictures(2, 32, 32, low=0, high=256)
    attack = attacks.create("codec", strength=strength, steps=4)
    levels = ((attack(Vulnerable(), clean).images - clean) * 255).round().abs().amax()
    assert int(levels) == round(attack.epsilon * 255)


def test_the_image_that_is_returned_is_worth_what_is_said_after_the_round_trips(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, 32, 32)
    result = Codec(steps=6)(Vulnerable(), clean)
    ways = [(Vulnerable()(way.encode(result.images)) / 100).detach() for way in WAYS]
    assert torch.allclose(result.values, torch.stack(ways).mean(dim=0), atol=1e-5)


def test_the_cost_is_three_passes_a_step(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian(32, 32, scale=0.002))
    result = Codec(steps=5)(metric, toys.pictures(3, 32, 32))
    assert result.backwards.tolist() == [15, 15, 15]
    # The clean image, the end, and the best iterate where that is neither.
    assert all(forwards in (21, 24) for forwards in result.forwards.tolist())
    assert metric.rows == int(result.forwards.sum())


@pytest.mark.parametrize("make", [lambda toys: toys.Linear, lambda toys: toys.Noisy], ids=["plain", "random"])
def test_an_image_is_attacked_alike_in_any_company(toys: SimpleNamespace, make: Callable[..., type]) -> None:
    metric, clean = make(toys)(toys.gaussian(32, 32, scale=0.002)), toys.pictures(3, 32, 32)
    names, attack = ["a", "b", "c"], Codec(steps=4)
    whole = attack(metric, clean, ids=names, draws=2)
    for order in ([2, 0], [1]):
        part = attack(metric, clean[order], ids=[names[row] for row in order], draws=2)
        assert torch.equal(part.images, whole.images[order])
        assert torch.equal(part.values, whole.values[order])


@pytest.mark.parametrize("size", [(17, 33), (32, 31)])
def test_any_size_is_attacked(toys: SimpleNamespace, size: tuple[int, int]) -> None:
    result = Codec(steps=4)(Vulnerable(), toys.pictures(1, *size))
    assert result.images.shape == (1, 3, *size)
    assert float(result.values) > float(result.clean_values)


def test_its_ways_to_the_judge_are_its_parameters() -> None:
    assert Codec(quality=40, scale=0.8).encoders == (Lossless(), JpegFile(quality=40), Thumbnail(scale=0.8))


@pytest.mark.parametrize("wrong", [{"quality": 0}, {"scale": 1.0}, {"steps": 1}, {"restarts": 0}, {"epsilon": 4}])
def test_an_impossible_configuration_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Codec(**wrong)  # type: ignore[arg-type]
