"""What every registered attack must satisfy, at each of its strengths.

The target is the planted vulnerable metric: linear, fast, and with a known optimum. Query attacks get few queries: how
strong they are is shown elsewhere. An attack whose weights are not part of the package takes part where they are found.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness import attacks
from iqa_robustness.attacks.base import Attack
from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.attacks.projections import Budget
from iqa_robustness.errors import CapabilityError, ConfigurationError, NonFiniteScoreError, WeightsError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams

NAMES = [name for name in attacks.registry.names() if attacks.available(name)]
MISSING = [name for name in attacks.registry.names() if not attacks.available(name)]
CASES = [(name, strength) for name in NAMES for strength in attacks.STRENGTHS]
QUERIES = 60
# A working attack moves the planted metric by more than this share of its range (the gate's own bar).
GAIN = 0.01
RESULT = ("images", "clean", "values", "clean_values", "forwards", "backwards", "responded", "gradient_nonzero")


class Counting(Vulnerable):
    """Counts images scored and images differentiated, without the zero images that fill a micro-batch."""

    def __init__(self, **spec: Any) -> None:
        super().__init__()
        self.spec = replace(Vulnerable.spec, **spec)
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        rows = int(images.detach().flatten(1).any(dim=1).sum())
        self.forwards += rows
        self.backwards += rows if torch.is_grad_enabled() and images.requires_grad else 0
        return super().forward(images)


class Noisy(Vulnerable):
    """Draws twice in every forward pass."""

    spec = replace(Vulnerable.spec, name="noisy", stochastic=True)

    def forward(self, images: Tensor, *, streams: Streams) -> Tensor:
        return super().forward(images) + streams.normal() + streams.uniform(2).sum(dim=1)


def made(name: str, strength: str = "medium") -> Attack:
    attack = attacks.create(name, strength=strength)
    return replace(attack, queries=QUERIES) if hasattr(attack, "queries") else attack


def levels(images: Tensor) -> np.ndarray:
    return np.rint(images.numpy().astype(np.float64) * 255)


# --- declarations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_class_declares_what_the_registry_and_the_records_say(name: str) -> None:
    entry, kind = attacks.registry.resolve(name), type(made(name))
    assert kind.name == entry.name
    assert kind.access == entry.access
    assert kind.access in ("white-box", "black-box")
    assert kind.restriction in ("linf", "l0", "l2", "ssim", "psnr", "none")
    assert isinstance(kind.version, int)
    assert kind.version >= 1
    assert entry.summary
    assert kind.__doc__
    assert "Source:" in kind.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_the_strengths_set_the_varied_parameter_and_differ(name: str) -> None:
    kind = type(made(name))
    fields = {field.name for field in dataclasses.fields(kind)}
    assert tuple(kind.strengths) == attacks.STRENGTHS
    assert kind.varied_parameter in fields
    for strength in attacks.STRENGTHS:
        assert kind.varied_parameter in kind.strengths[strength]
        assert set(kind.strengths[strength]) <= fields
    assert len({made(name, strength) for strength in attacks.STRENGTHS}) == 3


@pytest.mark.parametrize(("name", "strength"), CASES)
def test_an_attack_is_its_parameters_and_can_be_part_of_a_key(name: str, strength: str) -> None:
    attack = made(name, strength)
    assert attack == made(name, strength)
    assert hash(attack) == hash(made(name, strength))
    assert repr(attack) == repr(made(name, strength))
    document = document_of(attack)
    assert set(document["fields"]) == {field.name for field in dataclasses.fields(attack)}
    assert json.loads(Key(document).text) == document
    assert all(f"{field.name}=" in repr(attack) for field in dataclasses.fields(attack))


@pytest.mark.parametrize(("name", "strength"), CASES)
def test_the_budget_is_the_declared_restriction(name: str, strength: str) -> None:
    budget = made(name, strength).budget
    assert isinstance(budget, Budget)
    assert budget.restriction == made(name, strength).restriction
    assert budget.limit >= 0


@pytest.mark.parametrize("name", [name for name in NAMES if made(name).restriction in ("linf", "l0", "l2")])
def test_a_stronger_attack_has_a_larger_budget(name: str) -> None:
    weak, medium, strong = (made(name, strength).budget.limit for strength in attacks.STRENGTHS)
    assert weak < medium < strong


@pytest.mark.parametrize("name", MISSING)
def test_an_attack_without_its_weights_is_registered_and_says_what_it_needs(name: str) -> None:
    entry = attacks.registry.resolve(name)
    assert entry.weights
    assert "weights not included" in entry.summary
    with pytest.raises(WeightsError) as raised:
        attacks.create(name)
    assert raised.value.where.file
    assert raised.value.fix


# --- results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "strength"), CASES)
@pytest.mark.parametrize("goal", [RAISE, LOWER])
def test_the_result_is_an_8_bit_image_in_the_budget_and_better_than_clean(
    name: str, strength: str, goal: Any, photographs: Callable[..., Tensor]
) -> None:
    attack, clean, metric = made(name, strength), photographs(3), Vulnerable()
    result = attack(metric, clean, goal=goal)
    assert result.images.shape == clean.shape
    assert result.images.dtype == torch.float32
    assert not result.images.requires_grad
    assert torch.equal(result.images, torch.from_numpy(levels(result.images).astype(np.float32)) / 255)
    assert 0 <= float(result.images.min()) <= float(result.images.max()) <= 1
    assert torch.equal(result.clean, clean)
    assert not attack.budget.violations(result.images, clean).any()
    if attack.restriction == "linf":  # and without the budget's own word for it
        assert np.abs(levels(result.images) - levels(clean)).max() <= 255 * attack.budget.limit + 1e-3
    assert torch.allclose(goal.values(metric(result.images), metric.spec), result.values, atol=1e-5)
    assert torch.allclose(goal.values(metric(clean), metric.spec), result.clean_values, atol=1e-5)
    assert (result.values >= result.clean_values).all()
    assert float((result.values - result.clean_values).mean()) > GAIN
    assert result.responded.all()
    assert result.gradient_finite.all()
    assert result.gradient_nonzero.all()


@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_attack_gains_more(name: str, photographs: Callable[..., Tensor]) -> None:
    clean = photographs(3)
    gains = []
    for strength in attacks.STRENGTHS:
        result = made(name, strength)(Vulnerable(), clean)
        gains.append(float((result.values - result.clean_values).mean()))
    assert gains[0] < gains[1] < gains[2]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(
    pixels=hnp.arrays(np.uint8, (2, 3, 32, 34), elements=st.one_of(st.sampled_from([0, 255]), st.integers(0, 255))),
    strength=st.sampled_from(attacks.STRENGTHS),
    paper=st.booleans(),
)
def test_whatever_the_picture_the_budget_is_kept(name: str, pixels: np.ndarray, strength: str, paper: bool) -> None:
    attack = replace(made(name, strength), paper=paper)
    clean = torch.from_numpy(pixels.astype(np.float32)) / 255
    result = attack(Vulnerable(), clean)
    assert not attack.budget.violations(result.images, clean).any()
    assert torch.equal(result.images, torch.from_numpy(levels(result.images).astype(np.float32)) / 255)
    if not paper:
        assert (result.values >= result.clean_values).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (50, 32)])
def test_any_size_is_attacked(name: str, size: tuple[int, int], photographs: Callable[..., Tensor]) -> None:
    result = made(name)(Vulnerable(), photographs(1, *size))
    assert result.images.shape == (1, 3, *size)
    assert float(result.values) > float(result.clean_values)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_pictures_are_attacked_without_an_error(name: str, extremes: Callable[..., Tensor]) -> None:
    clean = extremes()
    result = made(name)(Vulnerable(), clean)
    assert (result.values >= result.clean_values).all()
    assert not made(name).budget.violations(result.images, clean).any()


@pytest.mark.parametrize("name", NAMES)
def test_no_images_cost_nothing(name: str, photographs: Callable[..., Tensor]) -> None:
    metric = Counting()
    assert made(name)(metric, photographs(1)[:0]).images.shape == (0, 3, 48, 64)
    assert metric.forwards == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_callers_images_are_not_changed(name: str, photographs: Callable[..., Tensor]) -> None:
    clean = photographs(2)
    before = clean.clone()
    made(name)(Vulnerable(), clean)
    assert torch.equal(clean, before)


# --- repeatability --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [Vulnerable, Noisy])
@pytest.mark.parametrize(("name", "strength"), CASES)
def test_an_image_is_attacked_alike_again_and_in_any_company(
    name: str, strength: str, metric: type[Vulnerable], photographs: Callable[..., Tensor]
) -> None:
    attack, clean, ids = made(name, strength), photographs(4), ["a", "b", "c", "d"]
    options = {"seed": 5, "key": "cell", "draws": 2, "micro_batch": 2}
    whole = attack(metric(), clean, ids=ids, **options)
    for chosen in ([0, 1, 2, 3], [3, 0, 2, 1], [2]):
        part = attack(metric(), clean[chosen], ids=[ids[row] for row in chosen], **options)
        for field in RESULT:
            assert torch.equal(getattr(part, field), getattr(whole, field)[chosen]), field


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_counters_say_what_was_spent(name: str, paper: bool, photographs: Callable[..., Tensor]) -> None:
    attack = replace(made(name), paper=paper)
    metric = Counting()
    result = attack(metric, photographs(3), ids=["a", "b", "c"])
    assert int(result.forwards.sum()) == metric.forwards
    assert int(result.backwards.sum()) == metric.backwards
    if attack.access == "black-box":
        assert metric.backwards == 0
    if hasattr(attack, "queries"):
        assert int(result.forwards.max()) <= QUERIES
    for row, name_of_image in enumerate("abc"):  # each image's own share
        alone = Counting()
        attack(alone, photographs(3)[row : row + 1], ids=[name_of_image])
        assert (alone.forwards, alone.backwards) == (int(result.forwards[row]), int(result.backwards[row]))


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("limit", [8, 13])
@pytest.mark.parametrize("name", NAMES)
def test_the_limit_of_forward_passes_is_kept(
    name: str, limit: int, paper: bool, photographs: Callable[..., Tensor]
) -> None:
    attack = replace(made(name), paper=paper)
    for row in range(2):
        metric = Counting()
        result = attack(metric, photographs(2)[row : row + 1], max_forwards=limit)
        assert metric.forwards <= limit
        assert torch.isfinite(result.values).all()
        assert not attack.budget.violations(result.images, result.clean).any()


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_without_gradients_a_white_box_attack_says_so_and_a_black_box_attack_works(
    name: str, photographs: Callable[..., Tensor]
) -> None:
    metric, attack = Counting(name="remote", access="query-only"), made(name)
    if attack.access == "white-box":
        with pytest.raises(CapabilityError) as caught:
            attack(metric, photographs(1))
        assert (caught.value.where.metric, caught.value.where.attack) == ("remote", name)
        assert metric.forwards == 0
    else:
        assert float(attack(metric, photographs(1)).values) > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_that_breaks_down_under_attack_is_named_with_attack_and_image(
    name: str, photographs: Callable[..., Tensor]
) -> None:
    clean = photographs(2)

    class Fragile(Vulnerable):
        def forward(self, images: Tensor) -> Tensor:
            # A mean: attacks on colours, or on few pixels, change some values by all there is.
            change = (images - clean[1]).detach().abs().mean(dim=(1, 2, 3))
            scores = super().forward(images)
            return torch.where((change > 0) & (change < 0.2), torch.nan, scores)

    with pytest.raises(NonFiniteScoreError) as caught:
        made(name)(Fragile(), clean, ids=["good", "bad"])
    where = caught.value.where
    assert (where.metric, where.attack, where.image) == ("planted-vulnerable", name, "bad")


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_parameter_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        attacks.create(name, no_such_parameter=1)
