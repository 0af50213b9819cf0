"""The colourisation network: its published keys and shapes, and its sizes, on a narrow one."""

from __future__ import annotations

import pytest
import torch

from iqa_robustness.attacks.colorization import COLOURS, ColorizationNetwork

# Convolutions of the published file, (key, outgoing, incoming, side); transposed ones have incoming first.
CONVOLUTIONS = [
    *[(f"model1.{n}", 64, i, 3) for n, i in ((0, 4), (2, 64))],
    *[(f"model2.{n}", 128, i, 3) for n, i in ((0, 64), (2, 128))],
    *[(f"model3.{n}", 256, i, 3) for n, i in ((0, 128), (2, 256), (4, 256))],
    *[(f"model4.{n}", 512, i, 3) for n, i in ((0, 256), (2, 512), (4, 512))],
    *[(f"model{block}.{n}", 512, 512, 3) for block in (5, 6, 7) for n in (0, 2, 4)],
    *[
        ("model8up.0", 512, 256, 4),
        ("model3short8.0", 256, 256, 3),
        ("model8.1", 256, 256, 3),
        ("model8.3", 256, 256, 3),
    ],
    *[("model9up.0", 256, 128, 4), ("model2short9.0", 128, 128, 3), ("model9.1", 128, 128, 3)],
    *[("model10up.0", 128, 128, 4), ("model1short10.0", 128, 64, 3), ("model10.1", 128, 128, 3)],
    *[("model_class.0", 529, 256, 1), ("model_out.0", 2, 128, 1)],
]
NORMS = {"model1.4": 64, "model2.4": 128, "model3.6": 256, "model8.5": 256, "model9.3": 128}
NORMS |= {f"model{block}.6": 512 for block in (4, 5, 6, 7)}
TRANSPOSED = ("model8up.0", "model9up.0", "model10up.0")


def answers(network: ColorizationNetwork, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    told = [torch.randn(2, channels, *size, generator=generator) for channels in (1, 2, 1)]
    with torch.no_grad():
        return network(*told), network.logits(*told)


def test_the_keys_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        found = {key: tuple(value.shape) for key, value in ColorizationNetwork().state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {}
    for key, outgoing, incoming, side in CONVOLUTIONS:
        expected[f"{key}.weight"] = (outgoing, incoming, side, side)
        expected[f"{key}.bias"] = (incoming if key in TRANSPOSED else outgoing,)
    for key, channels in NORMS.items():
        expected |= {f"{key}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{key}.num_batches_tracked"] = ()
    assert found == expected


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (40, 64)])
def test_colours_have_the_images_size_and_logits_a_quarter(size: tuple[int, int]) -> None:
    colours, logits = answers(ColorizationNetwork(width=2).eval(), size)
    assert colours.shape == (2, 2, *size)
    assert float(colours.abs().max()) <= 1
    assert logits.shape == (2, COLOURS, size[0] // 4, size[1] // 4)


def test_it_is_a_u_net_with_dilated_middle_blocks() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # two channels can all be dead, and then no short cut matters
        network = ColorizationNetwork(width=2)
    dilations = {key: module.dilation for key, module in network.named_modules() if hasattr(module, "dilation")}
    assert {key for key, dilation in dilations.items() if dilation == (2, 2)} == {
        f"model{block}.{number}" for block in (5, 6) for number in (0, 2, 4)
    }
    # Each short cut matters: without it the colours are others.
    network.eval()
    before, _ = answers(network, (16, 16))
    for name in ("model1short10", "model2short9", "model3short8"):
        layer = getattr(network, name)[0]
        kept = layer.weight.detach().clone()
        with torch.no_grad():
            layer.weight.zero_()
        assert not torch.equal(answers(network, (16, 16))[0], before)
        with torch.no_grad():
            layer.weight.copy_(kept)
    assert torch.equal(answers(network, (16, 16))[0], before)
