"""`fpr`: the published layout loads strictly, and the score is the one computed with functions and a GRU by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_robustness.errors import ImageContractError
from iqa_robustness.metrics.base import Metric
from iqa_robustness.metrics.fpr import Fpr, FprNetwork, scrambled_patches, whole_patches


@pytest.fixture(scope="module")
def state(randomised: Callable[..., nn.Module]) -> dict[str, Tensor]:
    return randomised(FprNetwork, gain=1.4).state_dict()


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("fpr", {"epoch": 7, "state_dict": state, "min_loss": 1.5}, file="model_best_kadid_0.pkl")


@pytest.fixture(scope="module")
def paper(state: dict[str, Tensor], published: Callable[..., Metric]) -> Metric:
    return published("fpr", {"state_dict": state}, paper=True)


def reference(state: dict[str, Tensor], cut: Tensor) -> float:
    """One image's score from its (P, 3, 64, 64) patches."""

    def convolved(features: Tensor, name: str) -> Tensor:
        features = F.conv2d(features, state[f"{name}.conv.0.weight"], state[f"{name}.conv.0.bias"], padding=1)
        return torch.where(features > 0, features, features * 0.2)

    def linear(features: Tensor, name: str) -> Tensor:
        return features @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    features = cut
    for name, pooled in (("sfl1", True), ("sfl21", False), ("sfl22", True), ("sfl23", False), ("sfl3", True)):
        features = convolved(convolved(features, f"{name}.conv1"), f"{name}.conv2")
        features = F.max_pool2d(features, 2) if pooled else features
    features = F.max_pool2d(convolved(features, "scl1.conv"), 2)
    described = F.conv2d(features, state["scl2.weight"], state["scl2.bias"]).reshape(len(cut), 256)
    scores = linear(linear(described, "srl1"), "srl2").flatten()
    memory = torch.zeros(32)
    weights = []
    for row in described:
        new = state["swl1.weight_ih_l0"] @ row + state["swl1.bias_ih_l0"]
        old = state["swl1.weight_hh_l0"] @ memory + state["swl1.bias_hh_l0"]
        reset, update = (new[:64] + old[:64]).sigmoid().chunk(2)
        memory = (1 - update) * (new[64:] + reset * old[64:]).tanh() + update * memory
        weights.append(linear(memory, "swl2").clamp(min=0) + 1e-8)
    weight = torch.cat(weights)
    return float((scores * weight).sum() / weight.sum())


def test_the_layout_is_the_published_one(state: dict[str, Tensor], layout: Callable[..., tuple[int, str]]) -> None:
    # The digest was taken from the authors' network class.
    assert layout(state) == (134, "7142d8d4496c9281")
    assert state["sfl3.conv2.conv.0.weight"].shape == (512, 512, 3, 3)
    assert state["InvRescaleNet.operations.2.H.conv4.weight"].shape == (256, 512, 1, 1)
    assert state["swl1.weight_ih_l0"].shape == (96, 256)


def test_the_state_goes_in_and_comes_out(state: dict[str, Tensor], metric: Fpr) -> None:
    loaded = metric.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_patches_stand_row_by_row_and_a_remainder_is_cut(noise: Callable[..., Tensor]) -> None:
    images = noise(2, 150, 200)
    cut = whole_patches(images)
    assert cut.shape == (2, 6, 3, 64, 64)
    assert torch.equal(cut[1, 4], images[1, :, 64:128, 64:128])
    assert whole_patches(noise(1, 384, 512)).shape[1] == 48


@pytest.mark.parametrize("size", [(64, 192), (128, 128), (150, 200)])
def test_the_scramble_is_the_published_reshape(noise: Callable[..., Tensor], size: tuple[int, int]) -> None:
    images = noise(2, *size)
    published = images.unfold(2, 64, 64).unfold(3, 64, 64).reshape(2, -1, 3, 64, 64)
    assert torch.equal(scrambled_patches(images), published)


def test_a_scrambled_patch_is_three_neighbours_in_one_colour(noise: Callable[..., Tensor]) -> None:
    images = noise(1, 64, 192)
    green = scrambled_patches(images)[0, 1]
    assert torch.equal(green, torch.stack([images[0, 1, :, start : start + 64] for start in (0, 64, 128)]))


@pytest.mark.parametrize("size", [(64, 64), (64, 130)])
def test_the_score_is_the_references(
    state: dict[str, Tensor], metric: Fpr, paper: Fpr, size: tuple[int, int], noise: Callable[..., Tensor]
) -> None:
    images = noise(2, *size)
    with torch.inference_mode():
        expected = [reference(state, cut) for cut in whole_patches(images)]
        assert metric(images).tolist() == pytest.approx(expected, rel=1e-5)
        scrambled = [reference(state, cut) for cut in scrambled_patches(images)]
        assert paper(images).tolist() == pytest.approx(scrambled, rel=1e-5)
    assert (scrambled == expected) == (size == (64, 64)), "one patch alone cannot be scrambled"


def test_the_order_of_the_patches_counts(metric: Fpr, noise: Callable[..., Tensor]) -> None:
    cut = whole_patches(noise(1, 64, 192))
    with torch.inference_mode():
        assert not torch.allclose(metric.network(cut), metric.network(cut.flip(1)), rtol=1e-6)


def test_patches_that_all_weigh_nothing_still_have_a_mean(
    metric: Fpr, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric.network.swl2, "forward", lambda read: read[..., :1] * 0 - 1)
    with torch.inference_mode():
        assert bool(torch.isfinite(metric(noise(1, 64, 128))).all())


def test_the_training_parts_do_not_score(
    metric: Fpr, noise: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(*_: object) -> None:
        raise AssertionError("a part of training was run")

    for name in ("fl1", "cl1", "rl1", "wl1", "gn"):
        monkeypatch.setattr(getattr(metric.network, name), "forward", used)
    with torch.inference_mode():
        assert metric(noise(1, 64, 64)).shape == (1,)


def test_directions_and_ranges_of_the_two_variants(metric: Fpr, paper: Fpr) -> None:
    assert (metric.spec.higher_is_better, metric.spec.score_range) == (False, (0.0, 80.0))
    assert (paper.spec.higher_is_better, paper.spec.score_range) == (True, (47.22482681274414, 77.04672241210938))


def test_small_images_are_enlarged_and_under_paper_refused(
    metric: Fpr, paper: Fpr, noise: Callable[..., Tensor]
) -> None:
    images = noise(1, 32, 48)
    enlarged = F.interpolate(images, size=(64, 96), mode="bilinear")
    with torch.inference_mode():
        assert torch.equal(metric(images), metric(enlarged))
    with pytest.raises(ImageContractError, match="fpr takes images from 64 x 64"):
        paper(images)


def test_a_score_does_not_depend_on_the_batch(metric: Fpr, noise: Callable[..., Tensor]) -> None:
    images = noise(2, 64, 128)
    with torch.inference_mode():
        alone = torch.cat([metric(images[row : row + 1]) for row in range(2)])
        assert torch.allclose(metric(images), alone, atol=1e-5 * metric.spec.diam, rtol=0)


def test_gradients_of_the_network_reach_the_pixels(
    metric: Fpr, noise: Callable[..., Tensor], gradient: Callable[..., Tensor]
) -> None:
    slope = gradient(metric, noise(1, 64, 128))
    assert bool(torch.isfinite(slope).all())
    assert float((slope != 0).float().mean()) > 0.9
