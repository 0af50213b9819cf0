"""Compositions: parts in their order, one key, a slope for each part, fresh noise in each draw."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.certified.median_smoothing import MedianSmoothing
from iqa_robustness.defenses.purification.color_quantization import ColorQuantization
from iqa_robustness.defenses.purification.composition import Composition
from iqa_robustness.defenses.purification.crop import Crop
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.gaussian_blur import GaussianBlur
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.defenses.purification.none import Undefended
from iqa_robustness.defenses.purification.random_noise import RandomNoise
from iqa_robustness.defenses.purification.resize import Resize
from iqa_robustness.defenses.purification.unsharp import Unsharp
from iqa_robustness.defenses.purification.upscale import Upscale
from iqa_robustness.errors import ConfigurationError, DefenseContractError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Key, document_of
from iqa_robustness.streams import Streams

PARTS = (Flip(), JPEG(), RandomNoise(), Crop(size=8), Resize(), GaussianBlur(), ColorQuantization())


def streams_of(ids: str, key: str = "key") -> Streams:
    return Streams(key, [*ids])


@dataclass(frozen=True, kw_only=True)
class Steps(Purification):
    """Rounds to whole tenths; its stand-in is `slope` times the image."""

    name: ClassVar[str] = "steps"
    version: ClassVar[int] = 1
    differentiable: ClassVar[bool] = False
    surrogate_name: ClassVar[str] = "line"

    slope: float

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        del streams
        return (images * 10).round() / 10

    def surrogate(self, images: Tensor) -> Tensor:
        return self.slope * images


@dataclass(frozen=True, kw_only=True)
class Square(Purification):
    """x²."""

    name: ClassVar[str] = "square"
    version: ClassVar[int] = 1

    def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
        del streams
        return images.square()


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(PARTS, 2)])
def test_parts_are_applied_in_order_and_draw_one_after_another(
    grain: Tensor, first: Purification, second: Purification
) -> None:
    composed = Composition(parts=(first, second)).purify(grain, streams=streams_of("ab"))
    streams = streams_of("ab")
    assert torch.equal(composed, second.purify(first.purify(grain, streams=streams), streams=streams))


def test_an_image_keeps_its_noise_in_any_company(grain: Tensor) -> None:
    defense = Composition(parts=(RandomNoise(), Crop(size=16), RandomNoise(sigma=0.1)))
    both = defense.purify(grain, streams=streams_of("ab"))
    assert torch.equal(defense.purify(grain.flip(0), streams=streams_of("ba")), both.flip(0))
    assert torch.equal(defense.purify(grain[:1], streams=streams_of("a")), both[:1])


def test_two_random_parts_draw_different_noise_and_each_draw_is_fresh() -> None:
    grey, streams = torch.full((1, 3, 32, 32), 0.5), streams_of("a")
    twice = Composition(parts=(RandomNoise(sigma=0.01), RandomNoise(sigma=0.01)))
    added = twice.purify(grey, streams=streams) - grey
    # Equal noise would add up to twice the width, independent noise to √2 of it.
    assert float(added.std()) == pytest.approx(0.01 * 2**0.5, rel=0.05)
    again = twice.purify(grey, streams=streams) - grey
    assert abs(float(torch.corrcoef(torch.stack([added.flatten(), again.flatten()]))[0, 1])) < 0.1


# --- declarations ---------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(PARTS), min_size=2, max_size=4))
def test_it_is_as_its_weakest_part(parts: list[Purification]) -> None:
    defense = Composition(parts=tuple(parts))
    assert defense.name == "+".join(part.name for part in parts)
    assert defense.differentiable is all(part.differentiable for part in parts)
    assert defense.stochastic is any(part.stochastic for part in parts)
    assert defense.keeps_geometry is all(part.keeps_geometry for part in parts)
    for other in (defense, replace(defense)):
        assert other == defense
        assert hash(other) == hash(defense)


def test_it_follows_a_part_whose_declaration_depends_on_its_parameters() -> None:
    assert Composition(parts=(GaussianBlur(), Upscale())).keeps_geometry
    assert not Composition(parts=(GaussianBlur(), Upscale(paper=True))).keeps_geometry


def test_a_composition_of_compositions_is_written_out() -> None:
    inner = Composition(parts=(Flip(), JPEG()))
    for nested in (
        Composition(parts=(inner, Unsharp())),
        Composition(parts=(Flip(), Composition(parts=(JPEG(), Unsharp())))),
    ):
        assert nested == Composition(parts=(Flip(), JPEG(), Unsharp())) == defenses.create("flip+jpeg+unsharp")


def test_the_key_holds_every_part_and_their_order() -> None:
    documents = [
        document_of(Composition(parts=parts))
        for parts in ((Flip(), JPEG()), (JPEG(), Flip()), (Flip(), JPEG(quality=30)), (Flip(), JPEG(), Flip()))
    ]
    assert len({Key(document).digest for document in documents}) == 4
    assert documents[2]["fields"]["parts"] == [document_of(Flip()), document_of(JPEG(quality=30))]


def test_as_published_is_every_part_as_published() -> None:
    published = Composition(parts=(Flip(), Resize()), paper=True)
    assert published.parts == (Flip(paper=True), Resize(paper=True))
    assert Composition(parts=(Flip(paper=True), Resize())).parts[1] == Resize()


# --- the backward pass ----------------------------------------------------------------------------------------------


def test_each_part_has_its_own_slope_at_the_value_the_parts_before_it_made() -> None:
    images = torch.tensor([0.13, 0.38, 0.94]).view(1, 3, 1, 1)
    leaf = images.clone().requires_grad_(True)
    defense = Composition(parts=(Steps(slope=3.0), Square(), Steps(slope=5.0)))
    applied = defense.applied(leaf)
    assert torch.equal(applied.detach(), defense.purify(images))
    (gradient,) = torch.autograd.grad(applied.sum(), leaf)
    # 5, of the second steps; 2x of the square, at the first steps' value; 3, of the first steps.
    assert torch.allclose(gradient, 5 * 2 * torch.tensor([0.1, 0.4, 0.9]).view(1, 3, 1, 1) * 3)


def test_without_a_gradient_no_surrogate_is_computed(grain: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, images: Tensor) -> Tensor:
        raise AssertionError("the surrogate is for the backward pass only")

    monkeypatch.setattr(JPEG, "surrogate", refuse)
    guarded = Composition(parts=(Flip(), JPEG())).protect(Vulnerable())
    assert guarded(grain).shape == (2,)
    with pytest.raises(AssertionError):
        guarded(grain.clone().requires_grad_(True))


def test_a_random_part_behind_one_without_a_gradient_draws_once_a_pass(grain: Tensor) -> None:
    guarded = defenses.create("jpeg+random-noise").protect(Vulnerable())
    queried = guarded(grain, streams=streams_of("ab"))
    assert torch.equal(guarded(grain.clone().requires_grad_(True), streams=streams_of("ab")).detach(), queried)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [Undefended(), MedianSmoothing(), "flip"])
def test_only_purifications_compose(part: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no purification"):
        Composition(parts=(Flip(), part))


@pytest.mark.parametrize("parts", [(), (Flip(),)])
def test_a_composition_has_two_parts_or_more(parts: tuple[Purification, ...]) -> None:
    with pytest.raises(ConfigurationError, match=f"two parts or more, got {len(parts)}"):
        Composition(parts=parts)


def test_a_part_that_breaks_the_contract_is_named(grain: Tensor) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bright(Flip):
        name: ClassVar[str] = "bright"

        def purify(self, images: Tensor, *, streams: Streams | None = None) -> Tensor:
            return images + 0.5

    guarded = Composition(parts=(Bright(), ColorQuantization())).protect(Vulnerable())
    with pytest.raises(DefenseContractError, match="values from") as caught:
        guarded(grain)
    assert (caught.value.where.defense, caught.value.where.metric) == ("bright", "planted-vulnerable")


def test_the_defended_metric_carries_the_expression() -> None:
    assert defenses.create("gaussian-blur+unsharp").protect(Vulnerable()).spec.name == (
        "planted-vulnerable behind gaussian-blur+unsharp"
    )
