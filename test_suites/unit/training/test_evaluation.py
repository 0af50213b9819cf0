"""What is measured of a fitted metric: the order of obvious damage, and the score range."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from iqa_robustness.images import to_uint8
from iqa_robustness.training.evaluation import OBVIOUS, order_kept, score_range
from iqa_robustness.training.mos_data import Photograph

Make = Callable[..., Photograph]


class Toy(nn.Module):
    """One function; notes what it was shown."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.seen.append(images.clone())
        return self.function(images)


def roughness(images: Tensor) -> Tensor:
    return images.diff(dim=3).abs().mean(dim=(1, 2, 3))


def flat(name: str) -> Photograph:
    return Photograph(name=name, content=name, pixels=np.full((40, 48, 3), 100, np.uint8))


# --- damage ---------------------------------------------------------------------------------------------------------


def test_damage_is_what_its_name_says(picture: Callable[..., np.ndarray]) -> None:
    pixels = picture(128, 128)
    draw = np.random.default_rng(0)
    blur, noise, coding = (OBVIOUS[name] for name in ("blur of 2 pixels", "noise of 25 / 255", "JPEG of quality 10"))
    exact = ndimage.gaussian_filter(pixels.astype(float), (2, 2, 0), mode="nearest")
    assert np.abs(blur(pixels, draw) - exact).max() < 0.501
    grey = np.full_like(pixels, 128)
    assert (noise(grey, draw).astype(float) - 128).std() == pytest.approx(25, rel=4 / np.sqrt(2 * grey.size))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=10)
    assert np.array_equal(coding(pixels, draw), np.asarray(Image.open(buffer)))
    assert len(OBVIOUS) == 3


# --- order ----------------------------------------------------------------------------------------------------------


def test_a_metric_of_roughness_sees_blur_and_takes_noise_for_detail(photograph: Make) -> None:
    photographs = [photograph(name) for name in ("a", "b", "c")]
    rough = order_kept(Toy(roughness), photographs, seed=0)
    assert (rough["blur of 2 pixels"], rough["noise of 25 / 255"]) == (1, 0)
    smooth = order_kept(Toy(lambda images: -roughness(images)), photographs, seed=0)
    assert (smooth["blur of 2 pixels"], smooth["noise of 25 / 255"]) == (0, 1)


def test_it_is_a_share_and_a_tie_is_not_order(photograph: Make) -> None:
    # Neither blur nor coding changes a flat picture.
    kept = order_kept(Toy(roughness), [photograph("a"), flat("b"), flat("c"), flat("d")], seed=0)
    assert kept["blur of 2 pixels"] == 0.25
    assert set(order_kept(Toy(lambda images: images.new_zeros(len(images))), [photograph("a")], seed=0).values()) == {0}


def test_the_names_are_those_of_the_damage(photograph: Make) -> None:
    assert list(order_kept(Toy(roughness), [photograph("a")], seed=0)) == list(OBVIOUS)


def test_each_photograph_is_shown_once_with_its_three_versions(photograph: Make) -> None:
    photographs = [photograph("a"), photograph("b", rows=48, columns=80)]
    toy = Toy(roughness)
    order_kept(toy, photographs, seed=0)
    assert [images.shape for images in toy.seen] == [(4, 3, 96, 128), (4, 3, 48, 80)]
    for images, one in zip(toy.seen, photographs, strict=True):
        versions = to_uint8(images)
        assert np.array_equal(versions[0], one.pixels)
        assert all(not np.array_equal(version, one.pixels) for version in versions[1:])


def test_damage_depends_on_the_seed_and_the_photograph_alone(photograph: Make) -> None:
    first, second = photograph("a"), photograph("b")
    seen: list[list[Tensor]] = []
    for photographs, seed in (([first, second], 1), ([second, first], 1), ([second], 1), ([second], 2)):
        toy = Toy(roughness)
        order_kept(toy, photographs, seed=seed)
        seen.append(toy.seen)
    assert seen[0][1].equal(seen[1][0])
    assert seen[0][1].equal(seen[2][0])
    assert not seen[2][0].equal(seen[3][0])


# --- range ----------------------------------------------------------------------------------------------------------


def test_the_outermost_half_per_cent_at_either_end_is_left_out() -> None:
    scores = torch.arange(1001, dtype=torch.float64)[torch.randperm(1001, generator=torch.Generator().manual_seed(0))]
    assert score_range(scores) == (5.0, 995.0)
    assert score_range(torch.cat([scores[:-4], torch.full((4,), 1e6)]))[1] < 1001


def test_bounds_are_widened_to_a_tenth() -> None:
    assert score_range(torch.tensor([-3.14159, 77.77777], dtype=torch.float64).repeat(1000)) == (-3.2, 77.8)


@given(
    scores=st.lists(st.floats(-50, 150, width=32), min_size=1, max_size=60),
    kind=st.sampled_from(["float32", "float64"]),
)
def test_the_range_is_the_narrowest_of_tenths_about_the_quantiles(scores: list[float], kind: str) -> None:
    low, high = score_range(torch.tensor(scores, dtype=getattr(torch, kind)))
    ordered = sorted(scores)

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    inner_low, inner_high = quantile(0.005), quantile(0.995)
    assert inner_low - 0.1 - 1e-9 < low <= inner_low + 1e-9
    assert inner_high - 1e-9 <= high < inner_high + 0.1 + 1e-9
    assert (low, high) == (round(low, 1), round(high, 1))
