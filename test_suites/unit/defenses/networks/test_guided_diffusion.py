"""guided-diffusion's checkpoint: its layout, and the outputs of its authors' code for known weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness.defenses.purification.networks.guided_diffusion import converted, guided_network

# Both were found by the authors' UNetModel (openai/guided-diffusion, 22e0df8), the first at the published size.
PUBLISHED_LAYOUT = (566, "b9c90be1570d1541")
REDUCED_LAYOUT = (382, "5d840b1483a8ba09")
PROBES = {
    0: [0.173242, -0.149768, -0.335002, 0.416317, 0.01864, -0.128735, 0.578864],
    49: [0.311236, 0.204098, -0.161451, 0.55378, -0.129397, -0.077374, 0.576309],
    999: [0.291985, 0.036432, -0.001473, 0.438659, 0.203422, -0.111035, 0.582672],
}


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Known random values, such that activations keep their size."""
    pool, place, found = torch.randn(100_003, generator=torch.Generator().manual_seed(0)), 0, {}
    for name in sorted(state):
        value = state[name]
        place = (place + 7919) % len(pool)
        noise = pool.repeat((place + value.numel()) // len(pool) + 1)[place : place + value.numel()].view(value.shape)
        if value.dim() > 1:
            found[name] = noise / value[0].numel() ** 0.5
        else:
            found[name] = 1 + 0.1 * noise if name.endswith("weight") else 0.05 * noise
    return found


@pytest.fixture(scope="module")
def reduced(diffusion: None) -> Any:
    return guided_network(channels=(32, 32, 64, 64), attention_levels=(2, 3), head_channels=32).eval()


@pytest.mark.usefixtures("diffusion")
def test_the_published_checkpoint_has_this_layout(
    layout: Callable[..., tuple[int, str]], in_their_names: Callable[..., dict[str, Tensor]]
) -> None:
    with torch.device("meta"):
        network = guided_network()
    state = in_their_names(network)
    assert layout(state) == PUBLISHED_LAYOUT
    assert sum(value.numel() for value in state.values()) == 552_814_086
    back = converted(state, network.config)  # type: ignore[arg-type]
    assert {key: value.shape for key, value in back.items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize("timestep", [*PROBES])
def test_it_gives_the_outputs_of_its_authors_code(
    reduced: Any,
    timestep: int,
    layout: Callable[..., tuple[int, str]],
    probes: Callable[[Tensor], list[float]],
    in_their_names: Callable[..., dict[str, Tensor]],
) -> None:
    state = filled(in_their_names(reduced))
    assert layout(state) == REDUCED_LAYOUT
    reduced.load_state_dict(converted(state, reduced.config), strict=True)
    noisy = 2 * torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(3)) - 1
    with torch.inference_mode():
        predicted = reduced(noisy, torch.tensor(timestep), return_dict=False)[0]
    assert predicted.shape == (2, 6, 32, 48)
    assert probes(predicted) == pytest.approx(PROBES[timestep], abs=1e-5)


def test_a_key_of_nobodys_is_left_for_the_strict_load_to_find(
    reduced: Any, in_their_names: Callable[..., dict[str, Tensor]]
) -> None:
    state = in_their_names(reduced) | {"label_emb.weight": torch.zeros(1000, 128)}
    assert {*converted(state, reduced.config)} - {*reduced.state_dict()} == {"label_emb.weight"}
