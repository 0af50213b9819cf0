"""The U-Net: against one put together from torch's own modules, and against the published size."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from iqa_robustness.attacks.perturbation_generator import PerturbationGenerator


@pytest.fixture(autouse=True)
def _drawn_alike() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def reference(generator: PerturbationGenerator, images: Tensor) -> Tensor:
    """The published wiring, recursively: each block halves, does what lies inside, doubles, and joins its input."""
    levels = len(generator.down)

    def inside(features: Tensor, level: int) -> Tensor:
        down = [generator.down[level]] if level == 0 else [nn.LeakyReLU(0.2), generator.down[level]]
        if 0 < level < levels - 1:
            down.append(nn.InstanceNorm2d(generator.down[level].out_channels))
        lower = nn.Sequential(*down)(features)
        between = lower if level == levels - 1 else inside(lower, level + 1)
        up: list[nn.Module] = [nn.ReLU(), generator.up[levels - 1 - level]]
        if level == 0:
            return nn.Sequential(*up, nn.Tanh())(between)
        raised = nn.Sequential(*up, nn.InstanceNorm2d(features.shape[1]))(between)
        return torch.cat([raised, features], dim=1)

    return inside(images, 0)


@pytest.mark.parametrize(
    ("width", "levels", "size"), [(4, 3, (24, 32)), (2, 5, (64, 32)), (3, 2, (4, 12)), (2, 1, (2, 2))]
)
def test_it_is_the_published_wiring(width: int, levels: int, size: tuple[int, int]) -> None:
    generator = PerturbationGenerator(width=width, levels=levels)
    images = torch.rand(2, 3, *size)
    made = generator(images)
    assert made.shape == images.shape
    assert torch.allclose(made, reference(generator, images), atol=1e-6)
    assert float(made.detach().abs().max()) < 1


def test_the_published_one_has_54_million_weights() -> None:
    with torch.device("meta"):
        published = PerturbationGenerator(width=64, levels=8)
    # 4 · 4 · in · out and out, of pix2pix's U-Net for 256 × 256.
    down = [(3, 64), (64, 128), (128, 256), (256, 512), *[(512, 512)] * 4]
    up = [(512, 512), *[(1024, 512)] * 3, (1024, 256), (512, 128), (256, 64), (128, 3)]
    expected = sum(16 * a * b + b for a, b in [*down, *up])
    assert sum(weights.numel() for weights in published.parameters()) == expected == 54_409_603


@pytest.mark.parametrize(("width", "levels"), [(2, 1), (4, 3), (2, 5)])
def test_one_of_the_tensors_of_another_is_the_same_without_drawing(width: int, levels: int) -> None:
    one = PerturbationGenerator(width=width, levels=levels)
    before = torch.get_rng_state()
    other = PerturbationGenerator.of(one.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.rand(1, 3, 64, 32)
    assert torch.equal(other(images), one(images))
    assert not any(weights.requires_grad for weights in other.parameters())


def test_an_image_does_not_depend_on_its_companions() -> None:
    generator = PerturbationGenerator(width=4, levels=3)
    images = torch.rand(4, 3, 16, 24)
    companions = torch.cat([images[:1], 1 - images[1:]])
    assert torch.allclose(generator(images)[0], generator(companions)[0], atol=1e-6)


def test_dropout_is_drawn_from_the_generator_alone_and_only_when_asked_for() -> None:
    network = PerturbationGenerator(width=4, levels=4)
    images = torch.rand(1, 3, 16, 32)
    before = torch.get_rng_state()
    plain, again = network(images), network(images)
    dropped = [network(images, dropout=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(plain, again)
    assert torch.equal(dropped[0], dropped[1])
    assert not torch.allclose(dropped[0], dropped[2])
    assert not torch.allclose(dropped[0], plain)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_of_the_deep_features_are_dropped_and_the_rest_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    network = PerturbationGenerator(width=8, levels=5)
    joined: list[Tensor] = []
    cat = torch.cat
    monkeypatch.setattr(torch, "cat", lambda parts, dim: joined.append(parts[0]) or cat(parts, dim=dim))
    images = torch.rand(1, 3, 128, 128)
    network(images)
    plain = [*joined]
    joined.clear()
    network(images, dropout=torch.Generator().manual_seed(0))
    first, kept = plain[0], joined[0] != 0
    assert float(kept.float().mean()) == pytest.approx(0.5, abs=0.05)
    assert torch.allclose(joined[0][kept], 2 * first[kept])
    # The first three layers up drop, the fourth does not.
    shares = [float((features == 0).float().mean()) for features in joined]
    assert [share > 0.4 for share in shares] == [True, True, True, False]


def test_gradients_reach_every_weight(toys: SimpleNamespace) -> None:
    network = PerturbationGenerator(width=2, levels=3)
    network(toys.pictures(2, 16, 16)).square().mean().backward()
    biases_before_norms = {"down.1.bias", "up.0.bias", "up.1.bias"}  # the mean they add is taken out again
    for name, weights in network.named_parameters():
        assert weights.grad is not None
        assert float(weights.grad.abs().max()) > 1e-9 or name in biases_before_norms, name
