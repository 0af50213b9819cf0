"""Pictures: their pixels are the ones that were scored, and differences are enlarged as they say."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from iqa_robustness.reporting.figures import Panel, amplified_difference, contact_sheet, curve_plot, shift_plot, spoken
from iqa_robustness.reporting.results import Curve


@given(st.integers(0, 2**32 - 1), st.integers(1, 255))
def test_a_difference_fills_the_scale_and_keeps_its_sign(seed: int, largest: int) -> None:
    random = np.random.RandomState(seed)
    first = random.randint(0, 256, (9, 7, 3)).astype(np.uint8)
    second = np.clip(first.astype(int) + random.randint(-largest, largest + 1, first.shape), 0, 255).astype(np.uint8)
    shown, factor = amplified_difference(first, second)
    difference = second.astype(int) - first.astype(int)
    assert np.array_equal(shown, np.clip(128 + factor * difference, 0, 255))
    peak = np.abs(difference).max()
    assert factor * peak <= 127 or factor == 1
    assert (factor + 1) * max(peak, 1) > 127


def test_equal_pictures_have_a_grey_difference() -> None:
    picture = np.full((4, 4, 3), 77, np.uint8)
    shown, _ = amplified_difference(picture, picture)
    assert (shown == 128).all()


def test_a_contact_sheet_shows_every_panel_as_it_is() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (48, 1, 3))
    panels = [Panel(pixels=ramp, title="one", text="a"), Panel(pixels=255 - ramp, title="two", text="b")]
    with Image.open(io.BytesIO(contact_sheet([panels, panels[:1]]))) as sheet:
        pixels = np.array(sheet)
    assert pixels.shape == (2 * (48 + 40) + 3 * 6, 2 * (64 + 6) + 6, 3)
    assert peak_signal_noise_ratio(pixels[46:94, 6:70], ramp) > 38
    assert peak_signal_noise_ratio(pixels[46:94, 76:140], 255 - ramp) > 38
    assert (pixels[140:188, 76:140] == 255).all()


def test_captions_are_drawn() -> None:
    blank = np.full((48, 200, 3), 255, np.uint8)
    with Image.open(io.BytesIO(contact_sheet([[Panel(pixels=blank, title="clean: x", text="score 1")]]))) as sheet:
        assert (np.array(sheet)[:40].min(axis=2) < 128).sum() > 50


def test_the_shift_plot_is_an_svg_with_its_words() -> None:
    random = np.random.RandomState(0)
    text = shift_plot(random.rand(20), random.rand(20), random.rand(20), title="compact/jpeg", axis="compact score")
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")


@pytest.mark.parametrize(
    ("value", "digits", "expected"), [(1.25, 1, "1.2"), (0.98765, 3, "0.988"), (float("nan"), 1, "–")]
)
def test_numbers_are_spoken(value: float, digits: int, expected: str) -> None:
    assert spoken(value, digits) == expected


def test_a_long_title_is_wrapped_and_not_cut_off() -> None:
    scores = np.linspace(0, 1, 5)
    title = "some.package.of.somebody:ItsMetric / another.package:Defense / attack / strong, and a few more words"
    figure = shift_plot(scores, scores, scores, title=title, axis="some.package.of.somebody:ItsMetric score").decode()
    # matplotlib leaves each line of text as a comment above its outlines.
    lines = re.findall(r"<!-- (.*?) -->", figure)
    assert title not in lines
    assert any(line.startswith("some.package.of.somebody:ItsMetric / another") for line in lines)
    assert any(line.endswith("a few more words") for line in lines)


def words(svg: str) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    ]


def curve(attack: str, *levels: float) -> Curve:
    return Curve(attack=attack, limits=[level / 255 for level in levels], gains=[(9.0, 8.0, 10.0)] * len(levels))


def test_a_curve_is_labelled_at_its_budgets() -> None:
    shown = words(curve_plot([curve("ifgsm", 2, 4, 8), curve("square", 4, 8)], "linf"))
    assert shown[:4] == ["2", "4", "8", "budget: l∞, levels of 255"]


def test_budgets_that_would_run_into_each_other_leave_the_axis_its_own_labels() -> None:
    shown = words(curve_plot([curve("ifgsm", 2, 2.1, 16)], "linf"))
    assert "2.1" not in shown
    assert len(shown) > 6


def test_a_single_budget_is_one_label() -> None:
    assert "4" in words(curve_plot([curve("ifgsm", 4)], "linf"))
