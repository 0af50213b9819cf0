"""Agreement of two data sets on the order of defenses: against SciPy, against construction, and through the store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import kendalltau, spearmanr

from iqa_robustness.bench.agreement import Agreement, Harm, compared
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.reporting.agreement_command import described, summary

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"
AXES = {"metric": "m", "attack": "a", "strength": "weak", "scenario": "nonadaptive"}


def harm(mean: float, *, seed: int = 0, spread: float = 0.1, images: int = 30) -> Harm:
    values = mean + spread * np.random.default_rng(seed).standard_normal(images)
    return Harm(values=values, contents=tuple(f"c{n}" for n in range(images)))


def agreement(first: dict[str, float], second: dict[str, float], **more: float) -> Agreement:
    sides = [
        {name: harm(value, seed=number + 100 * side, **more) for number, (name, value) in enumerate(own.items())}  # type: ignore[arg-type]
        for side, own in enumerate((first, second))
    ]
    return compared(*sides, **AXES)


def test_an_order_that_holds_is_confirmed_pair_by_pair() -> None:
    found = agreement({"x": 9.0, "y": 1.0, "z": 4.0}, {"x": 30.0, "y": 12.0, "z": 20.0})
    assert found.defenses == ("y", "z", "x"), "the best first"
    assert (found.confirmed, found.reversed, found.undecided) == (3, (), 0)
    assert (found.srocc, found.kendall) == (pytest.approx(1), pytest.approx(1))
    assert [round(one.value) for one in found.second] == [12, 20, 30]


def test_an_order_that_turns_round_is_reversed() -> None:
    found = agreement({"x": 1.0, "y": 5.0}, {"x": 5.0, "y": 1.0})
    assert (found.confirmed, found.reversed, found.undecided) == (0, (("x", "y"),), 0)
    assert found.srocc == pytest.approx(-1)
    assert "reversed: x < y" in described(found)


def test_what_may_be_chance_on_one_data_set_is_undecided() -> None:
    found = agreement({"x": 1.0, "y": 5.0}, {"x": 3.0, "y": 3.0})
    assert (found.confirmed, found.reversed, found.undecided) == (0, (), 1)
    noisy = agreement({"x": 1.0, "y": 1.2}, {"x": 1.2, "y": 1.0}, spread=5.0)
    assert noisy.undecided == 1


def test_differences_are_paired_by_image() -> None:
    """Images that differ much more among each other than the defenses do not hide the defenses' difference."""
    base = 50 * np.random.default_rng(0).random(30)
    contents = tuple(f"c{n}" for n in range(30))
    sides = [
        {
            "x": Harm(values=base, contents=contents),
            "y": Harm(values=base + 1 + 0.1 * np.random.default_rng(side).random(30), contents=contents),
        }
        for side in (1, 2)
    ]
    assert compared(*sides, **AXES).confirmed == 1


def test_contents_and_not_images_are_counted() -> None:
    values = np.repeat([0.0, 4.0], 15)
    sides = [
        {
            "x": Harm(values=np.zeros(30), contents=("one",) * 15 + ("two",) * 15),
            "y": Harm(values=values, contents=("one",) * 15 + ("two",) * 15),
        }
    ] * 2
    assert compared(*sides, **AXES).undecided == 1, "two contents show nothing"


@given(
    values=st.lists(
        st.tuples(st.floats(0, 50, allow_subnormal=False), st.floats(0, 50, allow_subnormal=False)),
        min_size=2,
        max_size=6,
    )
)
def test_correlations_are_those_of_scipy(values: list[tuple[float, float]]) -> None:
    sides = [
        {f"d{n}": Harm(values=np.full(4, pair[side]), contents=("a", "b", "c", "d")) for n, pair in enumerate(values)}
        for side in (0, 1)
    ]
    found = compared(*sides, **AXES)
    first, second = ([one.value for one in side] for side in (found.first, found.second))
    assert found.confirmed + len(found.reversed) + found.undecided == len(values) * (len(values) - 1) // 2
    if len({*first}) < 2 or len({*second}) < 2:
        assert np.isnan([found.srocc, found.kendall]).all()
        assert summary(found)["srocc"] is None
    else:
        assert found.kendall == pytest.approx(kendalltau(first, second).statistic)
        assert found.srocc == pytest.approx(spearmanr(first, second).statistic)


def test_the_command_compares_two_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        random = np.random.default_rng(len(place))
        lines = ["file,mos"]
        for n in range(4):
            pixels = random.integers(30, 200, (32, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{n}.png")
            lines.append(f"{n}.png,{n}")
        (tmp_path / place / "mos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["agreement", "--iqa-metric", PLANTED, "--iqa-attack", "fgsm", "--iqa-defense", "none,flip,median-blur"]
    places = ["--iqa-dataset", f"folder:{tmp_path / 'one'}", "--across", f"folder:{tmp_path / 'two'}"]
    more = ["--iqa-store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--iqa-size", "32x40"]
    assert main([*arguments, *places, *more]) == ExitCode.PASS
    said = capsys.readouterr().out
    assert "of 3 pairs" in said
    document = json.loads((tmp_path / "out" / "agreement.json").read_text(encoding="utf-8"))
    assert {row["defense"] for row in document["rows"]} == {"none", "flip", "median-blur"}
    # The same pixels in both folders: the orders cannot differ.
    assert [row["first"] for row in document["rows"]] == [row["second"] for row in document["rows"]]
    assert document["agreements"][0]["reversed"] == []
    assert main([*arguments[:-1], "flip", *places, *more]) == ExitCode.CONFIGURATION
    assert "fewer than two defenses" in capsys.readouterr().err
