"""Figures: what is drawn, in which order, and that a name is only a name."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from iqa_robustness.measures import Interval
from iqa_robustness.reporting.leaderboard_figures import Bars, bars_figure, preset_figure


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 2, high=value + 3, clusters=20)


def bars(name: str = "flip", quality: float = 1.5) -> Bars:
    return Bars(name=name, nonadaptive=interval(10), adaptive=interval(40), quality=quality)


def colours(data: bytes) -> set[tuple[int, ...]]:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return {tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}


def test_it_is_a_picture_that_xml_can_read_and_equal_data_make_equal_bytes() -> None:
    found = bars_figure([bars(), bars("jpeg")])
    assert ET.fromstring(found).tag.endswith("svg")
    assert b"<!-- flip -->" in found
    assert found == bars_figure([bars(), bars("jpeg")])


def test_quality_is_the_colour_and_its_absence_is_grey() -> None:
    grey = (0xC3, 0xC9, 0xD3)
    one = colours(bars_figure([bars(quality=0.5), bars("jpeg", quality=1.9)], file_format="png"))
    none = colours(bars_figure([bars(quality=math.nan)], file_format="png"))
    dark, light = (72, 35, 116), (184, 222, 41)  # viridis near its ends
    assert any(np.abs(np.subtract(colour, dark)).max() < 25 for colour in one)
    assert any(np.abs(np.subtract(colour, light)).max() < 40 for colour in one)
    assert grey in none
    assert not any(np.abs(np.subtract(colour, light)).max() < 40 for colour in none)


def test_what_was_not_attacked_so_and_unbounded_intervals_are_drawn_all_the_same() -> None:
    lone = Bars(name="none", nonadaptive=Interval.unknown(30.0, 1), adaptive=None, quality=1.9)
    assert ET.fromstring(bars_figure([lone])).tag.endswith("svg")


def test_a_name_is_no_formula() -> None:
    for name in ("$x^$", "a_{b", "<script>", r"\frac"):
        drawn = bars_figure([bars(name)])
        assert ET.fromstring(drawn).tag.endswith("svg")
        assert b"<script>" not in drawn
        curve = {"non-adaptive": [(1.0, interval(3)), (2.0, interval(4))]}
        assert ET.fromstring(preset_figure(name, curve)).tag.endswith("svg")


def test_a_curve_has_a_line_for_each_scenario() -> None:
    points = [(30.0, interval(5)), (60.0, interval(15)), (90.0, Interval.unknown(40.0, 1))]
    drawn = preset_figure("quality", {"non-adaptive attacks": points, "adaptive attacks": points[:2]}).decode()
    for text in ("quality", "non-adaptive attacks", "adaptive attacks"):
        assert f"<!-- {text} -->" in drawn
