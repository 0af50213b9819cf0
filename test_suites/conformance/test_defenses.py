"""What every registered defense must satisfy, at its default and at each value of its varied parameter.

So must compositions; three of them stand for all: a blur and its undoing, a random part before one without a gradient,
and parts that change the size.
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
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from iqa_robustness import attacks, defenses
from iqa_robustness.defenses.adaptive import attack_protocol
from iqa_robustness.defenses.base import DefendedMetric, Defense, Purification
from iqa_robustness.defenses.certified.smoothing import SmoothedMetric
from iqa_robustness.errors import ConfigurationError, IqaRobustnessError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.metrics.scoring import Scorer, transformed
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams

COMPOSITIONS = ["gaussian-blur+unsharp", "random-noise+jpeg", "resize+color-quantization+flip"]
NAMES = [*defenses.registry.names(), *COMPOSITIONS]
SAMPLES = 24


def made(name: str, **parameters: Any) -> Defense:
    """Certified defenses with few samples."""
    defense = defenses.create(name, **parameters)
    few = {field: SAMPLES for field in ("n", "n0") if hasattr(defense, field)}
    return replace(defense, **few)


def variants(name: str) -> list[tuple[str, dict[str, Any]]]:
    kind = type(defenses.create(name))
    varied = [{kind.varied_parameter: value} for value in kind.parameter_values]
    return [(name, parameters) for parameters in ({}, {"paper": True}, *varied)]


CASES = [case for name in NAMES for case in variants(name)]
PURIFICATIONS = [case for case in CASES if isinstance(made(case[0]), Purification)]
DIFFERENTIABLE = [name for name in NAMES if made(name).differentiable]
SURROGATES = [name for name in NAMES if not made(name).differentiable]
CERTIFIED = [name for name in NAMES if made(name).kind == "certified"]
STOCHASTIC = [name for name in NAMES if made(name).stochastic]


def streams_of(ids: str, key: str = "key") -> Streams:
    return Streams(key, list(ids))


def taken(defense: Defense, height: int, width: int) -> tuple[int, int]:
    """A size that the defense takes: a crop refuses images smaller than its window, and needs some room to move it."""
    least = defense.size + 16 if hasattr(defense, "size") else 0
    return max(height, least), max(width, least)


# --- declarations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_class_declares_what_the_registry_and_the_records_say(name: str) -> None:
    entry, defense = defenses.registry.resolve(name), made(name)
    kind = type(defense)
    assert defense.name == entry.name
    assert kind.kind == entry.kind
    assert kind.kind in ("none", "purification", "certified", "training")
    assert isinstance(kind.version, int)
    assert kind.version >= 1
    assert entry.summary
    assert kind.__doc__
    for flag in (defense.differentiable, defense.stochastic, defense.keeps_geometry):
        assert isinstance(flag, bool)
    fields = {field.name for field in dataclasses.fields(kind)}
    assert not kind.varied_parameter or kind.varied_parameter in fields
    assert bool(kind.varied_parameter) == bool(kind.parameter_values)


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_a_defense_is_its_parameters_and_can_be_part_of_a_key(name: str, parameters: dict[str, Any]) -> None:
    defense = made(name, **parameters)
    assert defense == made(name, **parameters)
    assert hash(defense) == hash(made(name, **parameters))
    assert repr(defense) == repr(made(name, **parameters))
    document = document_of(defense)
    assert json.loads(Key(document).text) == document
    for parameter, value in parameters.items():
        assert document["fields"][parameter] == value


@pytest.mark.parametrize("name", NAMES)
def test_each_value_of_the_varied_parameter_is_another_defense(name: str) -> None:
    kind = type(made(name))
    assert len({made(name, **{kind.varied_parameter: v}) for v in kind.parameter_values}) == len(kind.parameter_values)


@pytest.mark.parametrize("name", NAMES)
def test_the_protocol_of_an_adaptive_attack_follows_from_the_declarations(name: str) -> None:
    defense = made(name)
    protocol = attack_protocol(defense, draws=4, white_box=True)
    assert ("eot-4" in protocol) is defense.stochastic
    assert ("bpda-" in protocol) is not defense.differentiable


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_parameter_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        defenses.create(name, no_such_parameter=1)


# --- the defended metric --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_the_defended_metric_is_a_metric_of_the_same_scale(name: str, parameters: dict[str, Any]) -> None:
    metric = Vulnerable().eval()
    state = {key: value.clone() for key, value in metric.state_dict().items()}
    guarded = made(name, **parameters).protect(metric)
    assert isinstance(guarded, DefendedMetric)
    assert isinstance(guarded, Metric)
    assert guarded.spec.stochastic is made(name).stochastic
    for fact in ("score_range", "higher_is_better", "access", "version"):
        assert getattr(guarded.spec, fact) == getattr(metric.spec, fact)
    assert all(torch.equal(value, state[key]) for key, value in metric.state_dict().items())


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_scores_are_repeatable_and_do_not_depend_on_companions_or_position(
    name: str, parameters: dict[str, Any], photographs: Callable[..., Tensor]
) -> None:
    defense = made(name, **parameters)
    scorer = Scorer(metric=defense.protect(Vulnerable()), micro_batch=2)
    images = photographs(4, *taken(defense, 48, 64))
    whole = scorer.scores(images, streams=streams_of("abcd"))
    assert whole.shape == (4,)
    assert torch.isfinite(whole).all()
    for chosen in ([0, 1, 2, 3], [3, 1, 0, 2], [2], [1, 3, 2]):
        part = scorer.scores(images[chosen], streams=streams_of("".join("abcd"[row] for row in chosen)))
        assert torch.equal(part, whole[chosen])


@pytest.mark.parametrize("name", NAMES)
def test_randomness_is_what_is_declared_and_comes_from_the_streams(
    name: str, photographs: Callable[..., Tensor]
) -> None:
    defense = made(name)
    scorer = Scorer(metric=defense.protect(Vulnerable()), micro_batch=2)
    images = photographs(2, *taken(defense, 48, 64))
    torch.manual_seed(0)
    first = scorer.scores(images, streams=streams_of("ab", "one"))
    torch.manual_seed(1)
    again = scorer.scores(images, streams=streams_of("ab", "one"))
    other = scorer.scores(images, streams=streams_of("ab", "two"))
    assert torch.equal(first, again)
    assert torch.equal(first, other) is not defense.stochastic
    if defense.stochastic:
        with pytest.raises(IqaRobustnessError):
            scorer.scores(images)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_each_draw_from_the_same_streams_is_a_fresh_one(name: str, photographs: Callable[..., Tensor]) -> None:
    """An attack averages over draws (EOT) by asking again with the streams it has."""
    defense = made(name)
    guarded = defense.protect(Vulnerable())
    images, streams = photographs(2, *taken(defense, 64, 80)), streams_of("ab")
    draws = torch.stack([guarded(images, streams=streams) for _ in range(4)])
    assert (draws.std(dim=0) > 0).all()


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (50, 32), (48, 129)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_is_scored(name: str, size: tuple[int, int], photographs: Callable[..., Tensor]) -> None:
    defense = made(name)
    scores = Scorer(metric=defense.protect(Vulnerable()), micro_batch=2).scores(
        photographs(2, *taken(defense, *size)), streams=streams_of("ab")
    )
    assert torch.isfinite(scores).all()


# --- purified images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 64), (33, 47)])
@pytest.mark.parametrize(("name", "parameters"), PURIFICATIONS)
def test_purified_images_keep_the_tensor_contract(
    name: str, parameters: dict[str, Any], size: tuple[int, int], extremes: Callable[..., Tensor]
) -> None:
    defense = made(name, **parameters)
    images = extremes(*taken(defense, *size))
    before = images.clone()
    purified = defense.purify(images, streams=streams_of("abcde"))
    assert purified.dtype == torch.float32
    assert purified.shape[:2] == images.shape[:2]
    assert purified.shape == images.shape or not defense.keeps_geometry
    assert torch.isfinite(purified).all()
    assert float(purified.min()) >= 0
    assert float(purified.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize(("name", "parameters"), PURIFICATIONS)
@settings(deadline=None, max_examples=10)
@given(
    pixels=hnp.arrays(np.uint8, (2, 3, 17, 18), elements=st.integers(0, 255)),
    share=st.floats(0, 0.875, width=32),
)
def test_images_between_8_bit_levels_are_purified_too(
    name: str, parameters: dict[str, Any], pixels: np.ndarray, share: float
) -> None:
    defense = made(name, **parameters)
    height, width = taken(defense, 17, 18)
    tiled = np.pad(pixels, ((0, 0), (0, 0), (0, height - 17), (0, width - 18)), mode="wrap")
    images = ((torch.from_numpy(tiled.astype(np.float32)) + share) / 255).clamp(0, 1)
    purified = defense.purify(images, streams=streams_of("ab"))
    assert 0 <= float(purified.min()) <= float(purified.max()) <= 1


@pytest.mark.parametrize(("name", "parameters"), PURIFICATIONS)
def test_an_image_is_purified_alike_in_any_company(
    name: str, parameters: dict[str, Any], photographs: Callable[..., Tensor]
) -> None:
    defense = made(name, **parameters)
    purify, images = defense.purify, photographs(3, *taken(defense, 48, 64))
    whole = transformed(purify, images, size=2, streams=streams_of("abc"))
    for chosen in ([2, 0, 1], [1]):
        part = transformed(purify, images[chosen], size=2, streams=streams_of("".join("abc"[row] for row in chosen)))
        assert torch.equal(part, whole[chosen])


@pytest.mark.parametrize(("name", "parameters"), PURIFICATIONS)
def test_a_photograph_stays_recognisable(
    name: str, parameters: dict[str, Any], photographs: Callable[..., Tensor]
) -> None:
    """As the same picture where pixels correspond, else as one of its brightness and contrast."""
    defense = made(name, **parameters)
    # Of a crop, the picture is little more than its window.
    images = photographs(3, *((defense.size + 8,) * 2 if hasattr(defense, "size") else (96, 128)))
    purified = defense.purify(images, streams=streams_of("abc"))
    before, after = images.flatten(1), purified.flatten(1)
    assert (after.std(dim=1) > 0.5 * before.std(dim=1)).all()
    if defense.keeps_geometry:
        correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(before, after, strict=True)]
        assert min(correlations) > 0.7
    else:
        assert float((purified.mean(dim=(2, 3)) - images.mean(dim=(2, 3))).abs().max()) < 0.1
        assert (after.std(dim=1) < 1.5 * before.std(dim=1)).all()


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 64), (33, 47)])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_arrive_finite_and_not_zero_at_every_image(
    name: str, size: tuple[int, int], photographs: Callable[..., Tensor]
) -> None:
    """Through the defense where it is differentiable, through its surrogate where it is not."""
    defense = made(name)
    scorer, images = Scorer(metric=defense.protect(Vulnerable()), micro_batch=2), photographs(3, *taken(defense, *size))
    scores, gradients = scorer.scores_and_gradients(images, streams=streams_of("abc"))
    assert torch.isfinite(gradients).all()
    assert (gradients.flatten(1).norm(dim=1) > 0).all()
    # Values of the gradient pass are those of a query: BPDA changes the slope alone.
    queried = scorer.scores(images, streams=streams_of("abc"))
    assert torch.allclose(scores, queried, rtol=1e-5)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_of_a_differentiable_defense_agree_with_finite_differences(
    name: str, photographs: Callable[..., Tensor]
) -> None:
    """In float64, by steps that are too small to change which pixel is a median."""
    defense = made(name)
    scorer = Scorer(metric=defense.protect(Vulnerable().double()), micro_batch=2)
    random = np.random.RandomState(0)
    # Away from the ends, where noise is clipped, and without equal neighbours, whose order a median depends on.
    images = 0.3 + 0.4 * photographs(2, *taken(defense, 48, 64)).double()
    images += 1e-3 * torch.from_numpy(random.uniform(size=images.shape))
    _, gradients = scorer.scores_and_gradients(images, streams=streams_of("ab"))
    step = 1e-7 * torch.from_numpy(random.uniform(size=images.shape)) * gradients.sign()
    slope = (gradients * step).flatten(1).sum(dim=1)
    higher, lower = (scorer.scores(images + sign * step, streams=streams_of("ab")) for sign in (1, -1))
    assert torch.allclose((higher - lower) / 2, slope, rtol=1e-3)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_has_a_name_and_lends_its_slope_to_the_exact_value(
    name: str, photographs: Callable[..., Tensor]
) -> None:
    defense = made(name)
    assert isinstance(defense, Purification)
    assert defense.surrogate_name
    leaf = photographs(2).requires_grad_(True)
    purified = defense.applied(leaf, streams=streams_of("ab"))
    assert torch.equal(purified, defense.purify(leaf.detach(), streams=streams_of("ab")))
    (gradient,) = torch.autograd.grad((purified * torch.linspace(-1, 1, purified.shape[-1])).sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_adaptive_attack_runs_against_it_and_gains(name: str, photographs: Callable[..., Tensor]) -> None:
    defense = made(name)
    images = photographs(2, *taken(defense, 48, 64))
    result = attacks.create("ifgsm", strength="strong")(defense.protect(Vulnerable()), images, draws=2, micro_batch=2)
    assert result.gradient_finite.all()
    assert result.gradient_nonzero.all()
    assert (result.values >= result.clean_values).all()
    assert float((result.values - result.clean_values).mean()) > 0.01


# --- certificates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CERTIFIED)
def test_certificates_are_ordered_repeatable_and_depend_on_the_image_alone(
    name: str, photographs: Callable[..., Tensor]
) -> None:
    guarded = made(name).protect(Vulnerable())
    assert isinstance(guarded, SmoothedMetric)
    whole = guarded.certify(photographs(3), streams=streams_of("abc"), micro_batch=5)
    assert torch.isfinite(whole.scores).all()
    known = ~whole.abstained
    assert (whole.lower[known] <= whole.scores[known]).all()
    assert (whole.scores[known] <= whole.upper[known]).all()
    assert (whole.radius[whole.abstained] == 0).all()
    assert (whole.radius >= 0).all()
    part = guarded.certify(photographs(3)[[2, 0]], streams=streams_of("ca"), micro_batch=5)
    for field in dataclasses.fields(whole):
        ours, theirs = getattr(part, field.name), getattr(whole, field.name)[[2, 0]]
        assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1)), field.name
