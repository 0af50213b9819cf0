"""`colour-hints`: where hints lie, whom they lead, and that lightness stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.colour_hints import ColourHints, influence, scattered
from iqa_robustness.attacks.lab import to_lab
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.similarity import ssim
from iqa_robustness.streams import Streams


def halves(height: int = 24, width: int = 32) -> torch.Tensor:
    """(1, 3, height, width): a reddish and a bluish half."""
    image = torch.full((1, 3, height, width), 110.0)
    image[:, 0, :, : width // 2] = 160
    image[:, 2, :, width // 2 :] = 160
    return image / 255


# --- hints ------------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 90), height=st.integers(7, 60), width=st.integers(7, 60))
@settings(deadline=None, max_examples=40)
def test_there_is_one_hint_in_each_cell_of_a_grid(count: int, height: int, width: int) -> None:
    places = scattered(Streams("key", ["a", "b"]), count, height, width)
    assert places.shape[0] == 2
    assert 0.4 * min(count, height * width) <= places.shape[1] <= 2.5 * count
    assert places.shape[1] >= 1
    assert int(places.min()) >= 0
    assert int(places.max()) < height * width
    for row in places.tolist():
        assert len(set(row)) == len(row)


def test_an_images_hints_are_its_own() -> None:
    both = scattered(Streams("key", ["a", "b"]), 64, 48, 64)
    assert torch.equal(both[1:], scattered(Streams("key", ["b"]), 64, 48, 64))
    assert not torch.equal(both[0], both[1])


def test_influence_is_the_normalised_product_of_two_gaussians(toys: SimpleNamespace) -> None:
    lab = to_lab(toys.pictures(1, 8, 9))[0]
    places = torch.tensor([0, 40, 71])
    found = influence(lab, places, reach=0.2, likeness=15.0).double().numpy()
    colours = lab.double().numpy().reshape(3, -1)
    rows, columns = np.divmod(np.arange(72), 9)
    raw = np.stack(
        [
            np.exp(
                -((rows - rows[p]) ** 2 + (columns - columns[p]) ** 2) / (8**2 + 9**2) / (2 * 0.2**2)
                - ((colours - colours[:, [p]]) ** 2).sum(axis=0) / (2 * 15.0**2)
            )
            for p in places.tolist()
        ]
    )
    assert found == pytest.approx(raw / raw.sum(axis=0), abs=1e-4)


def test_a_hint_leads_what_looks_like_it_and_leaves_the_rest() -> None:
    image = halves()
    attack = ColourHints(hints=2, likeness=5.0)
    parameters, (render,) = attack.start(image, Streams("key", ["a"]))
    assert parameters.shape == (1, 2, 2)
    changes = parameters[0].clone()
    changes[0, 0] = 25.0
    before, after = to_lab(image), to_lab(render(changes))
    shift = (after - before)[0]
    left, right = shift[1, :, :16], shift[1, :, 16:]
    led, others = (left, right) if float(left.mean()) > float(right.mean()) else (right, left)
    assert float(led.min()) > 20
    assert float(others.abs().max()) < 2


# --- the attack -------------------------------------------------------------------------------------------------------


def test_zeros_change_nothing_that_8_bits_hold(toys: SimpleNamespace) -> None:
    images = toys.pictures(2, 16, 20, low=0, high=256)
    parameters, renders = ColourHints().start(images, Streams("key", ["a", "b"]))
    for row, render in enumerate(renders):
        assert float((render(parameters[row])[0] - images[row]).abs().max()) < 0.02 / 255


def test_lightness_stays_and_colours_move(toys: SimpleNamespace) -> None:
    clean = toys.pictures(2, 24, 32, low=90, high=166)
    result = attacks.create("colour-hints", strength="weak")(Vulnerable(), clean)
    change = to_lab(result.images) - to_lab(clean)
    assert float(change[:, 0].abs().mean()) < 1.5  # rounding to 8 bits, and what no screen shows
    assert float(change[:, 1:].abs().mean()) > 3
    assert (ssim(result.images, clean) >= 0.9 - 1e-6).all()
    assert (result.values - result.clean_values > 0.05).all()


def test_it_draws_alike_again_and_otherwise_for_another_seed(toys: SimpleNamespace) -> None:
    clean, attack = toys.pictures(1, 16, 20), ColourHints()
    one, again, other = (attack(Vulnerable(), clean, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_in_company_of_a_size_that_vectors_do_not_divide_bits_are_the_same(toys: SimpleNamespace) -> None:
    clean = toys.pictures(3, 17, 23)
    whole = ColourHints()(Vulnerable(), clean, ids=["a", "b", "c"])
    alone = ColourHints()(Vulnerable(), clean[1:2], ids=["b"])
    assert torch.equal(whole.images[1:2], alone.images)


def test_nothing_was_published_so_paper_returns_the_last_image_of_the_same_search(toys: SimpleNamespace) -> None:
    clean = toys.pictures(1, 16, 20)
    ours, paper = (ColourHints(paper=flag)(Vulnerable(), clean) for flag in (False, True))
    assert ours.trace == paper.trace
    assert float(ours.values) >= float(paper.values)
    assert not ColourHints(paper=True).as_published


def test_the_cost_is_ten_gradients_and_the_check(toys: SimpleNamespace) -> None:
    result = ColourHints()(Vulnerable(), toys.pictures(2, 16, 20))
    assert result.backwards.tolist() == [10, 10]
    assert set(result.forwards.tolist()) <= {11, 12, 13}


@pytest.mark.parametrize("parameters", [{"hints": 0}, {"reach": 0.0}, {"likeness": -1.0}, {"steps": 0}])
def test_impossible_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        ColourHints(**parameters)
