"""Crop: a window of the image at a place from its stream, every place as likely as any other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqa_robustness.attacks.ifgsm import IFGSM
from iqa_robustness.defenses.purification.crop import Crop
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.streams import Streams


def streams_of(ids: str, key: str = "key") -> Streams:
    return Streams(key, [*ids])


def numbered(count: int, height: int, width: int) -> Tensor:
    """Images whose pixels tell their row in the first channel and their column in the second."""
    rows, columns = torch.meshgrid(torch.arange(height) / 255, torch.arange(width) / 255, indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)]).expand(count, -1, -1, -1).clone()


def places(purified: Tensor) -> np.ndarray:
    """(N, 2), top and left of each window."""
    return (purified[:, :2, 0, 0] * 255).round().int().numpy()


@settings(max_examples=40)
@given(height=st.integers(8, 40), width=st.integers(8, 40), size=st.integers(1, 8), key=st.text(max_size=5))
def test_it_is_a_window_of_the_image(height: int, width: int, size: int, key: str) -> None:
    images = numbered(2, height, width)
    purified = Crop(size=size).purify(images, streams=streams_of("ab", key))
    for image, window, (top, left) in zip(images, purified, places(purified), strict=True):
        assert torch.equal(window, image[:, top : top + size, left : left + size])


def test_every_place_is_as_likely_as_any_other() -> None:
    ids = [str(number) for number in range(3000)]
    images = numbered(1, 9, 8).expand(len(ids), -1, -1, -1)
    found = places(Crop(size=6).purify(images, streams=Streams("key", ids)))
    counts = np.histogram2d(*found.T, bins=(np.arange(5), np.arange(4)))[0]
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 1e-3
    assert counts.sum() == len(ids)


@pytest.mark.parametrize("paper", [False, True])
def test_each_image_has_a_place_of_its_own_whatever_its_company(paper: bool) -> None:
    defense, images = Crop(size=8, paper=paper), numbered(4, 64, 64)
    whole = defense.purify(images, streams=streams_of("abcd"))
    assert len({tuple(place) for place in places(whole)}) == 4
    for chosen in ([2, 0, 3], [1]):
        part = defense.purify(images[chosen], streams=streams_of("".join("abcd"[row] for row in chosen)))
        assert torch.equal(part, whole[chosen])


def test_a_window_as_large_as_the_image_is_the_image() -> None:
    images = numbered(2, 12, 12)
    assert torch.equal(Crop(size=12).purify(images, streams=streams_of("ab")), images)
    assert Crop(size=12).purify(images[:0], streams=Streams("key", [])).shape == (0, 3, 12, 12)


def test_the_gradient_reaches_the_window_alone() -> None:
    leaf = numbered(1, 20, 20).requires_grad_(True)
    purified = Crop(size=5).purify(leaf, streams=streams_of("a"))
    purified.sum().backward()
    (top, left), expected = places(purified.detach())[0], torch.zeros(20, 20)
    expected[top : top + 5, left : left + 5] = 1
    assert leaf.grad is not None
    assert torch.equal(leaf.grad[0], expected.expand(3, -1, -1))


@pytest.mark.parametrize("size", [(47, 90), (90, 47), (20, 20)])
def test_a_window_larger_than_the_image_is_an_error_with_both_sizes_and_advice(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Crop(size=48).purify(torch.rand(1, 3, *size), streams=streams_of("a"))
    assert f"a crop of 48 pixels takes images from 48 × 48 pixels, got {size[0]} × {size[1]}" in str(caught.value)
    assert "use a smaller size, or larger images" in caught.value.fix


def test_behind_a_metric_the_error_names_metric_defense_and_attack() -> None:
    with pytest.raises(ConfigurationError) as caught:
        IFGSM()(Crop(size=48).protect(Vulnerable()), torch.rand(1, 3, 32, 32))
    where = caught.value.where
    assert (where.metric, where.defense, where.attack) == ("planted-vulnerable", "crop", "ifgsm")


def test_what_it_needs_and_declares() -> None:
    with pytest.raises(ConfigurationError, match="crop draws random numbers and needs `streams`"):
        Crop(size=2).purify(torch.rand(1, 3, 4, 4))
    with pytest.raises(ConfigurationError, match="at least 1 pixel"):
        Crop(size=0)
    assert (Crop.stochastic, Crop.differentiable, Crop.keeps_geometry) == (True, True, False)
