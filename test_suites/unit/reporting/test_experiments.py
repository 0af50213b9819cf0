"""The commands `detect` and `degradations`: tables, files and pictures of one run, the next one from the store."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from scipy import integrate

from iqa_robustness.bench.degradations import LEVELS, Harm
from iqa_robustness.bench.detection import Detection
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.measures import HeldOut, Interval, roc
from iqa_robustness.reporting import degradations_command, detect_command
from iqa_robustness.reporting.experiment_figures import degradation_figure, roc_figure

PLANTED = "iqa_robustness.metrics.planted:Vulnerable"
SURE = Interval(value=4.0, low=2.0, high=6.0, clusters=10)
HARM = Harm(
    metric="m",
    defense="jpeg",
    degradation="noise",
    level=1,
    score=40.0,
    defended=44.0,
    bias=SURE,
    ordered=0.9,
    lost=0.25,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


def run(command: str, folder: Path, *options: str) -> int:
    given = ["--iqa-metric", PLANTED, "--iqa-images", "10", "--iqa-size", "48x64", "--iqa-store", str(folder / "store")]
    return main([command, *given, "--iqa-device", "cpu", "--out", str(folder / "out"), *options])


# --- detect ---------------------------------------------------------------------------------------------------------

DETECT = ("--iqa-attack", "fgsm", "--iqa-strength", "medium,strong", "--detector", "score-change:gaussian-b*,feature*")


@pytest.fixture(scope="module")
def detected(folder: Path) -> None:
    assert run("detect", folder, *DETECT) == ExitCode.PASS


def test_detect_prints_a_line_for_each_attack_and_detector(
    detected: None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("detect", folder, *DETECT, "--iqa-from-store", "--rate", "0.1") == ExitCode.PASS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["metric", "attack", "strength", "detector"]
    assert "found at 10 % false, %" in lines[0]
    named = [line.split()[1:4] for line in lines[1:5]]
    assert named == [
        ["fgsm", strength, detector]
        for strength in ("medium", "strong")
        for detector in ("feature-squeezing", "score-change:gaussian-blur")
    ]
    assert all(re.search(r"\d\.\d\d \(\d\.\d\d to \d\.\d\d\)", line) for line in lines[1:5])
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[5].startswith("written: ")


def test_detect_writes_what_it_printed(detected: None, folder: Path) -> None:
    document = json.loads((folder / "out" / "detection.json").read_text())
    table = pd.read_csv(folder / "out" / "detection.csv")
    assert len(document["rows"]) == len(table) == len(document["curves"]) == 4
    for row, curve, (_, line) in zip(document["rows"], document["curves"], table.iterrows(), strict=True):
        area = integrate.trapezoid(curve["true_positive_rates"], curve["false_positive_rates"])
        assert row["auc"] == pytest.approx(area)
        assert line["auc"] == pytest.approx(row["auc"])
        assert (row["attack"], row["clean_images"], row["attacked_images"]) == ("fgsm", 50, 10)
        assert row["detector"] == curve["detector"] == line["detector"]
    text = (folder / "out" / "detection.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")


def detection(**fields: object) -> Detection:
    known = Detection(
        metric="m",
        detector="d",
        attack="a",
        strength="weak",
        auc=Interval(value=0.75, low=0.5, high=1.0, clusters=4),
        rates=HeldOut(true_positive_rate=SURE, false_positive_rate=SURE),
        roc=roc([0.1, 0.3], [0.2, 0.4]),
        forwards=2,
        gain=3.0,
        clean=2,
        attacked=2,
    )
    return replace(known, **fields)  # type: ignore[arg-type]


def test_a_panel_for_each_attack_a_line_for_each_detector() -> None:
    found = [detection(attack=attack, detector=one, strength=s) for attack in "ab" for one in "xyz" for s in ("w", "s")]
    svg = ElementTree.fromstring(roc_figure(found))
    panels = [node for node in svg.iter() if node.get("id", "").startswith("axes_")]
    assert len(panels) == 2
    assert roc_figure(found[:1], file_format="png").startswith(b"\x89PNG")


# --- degradations ---------------------------------------------------------------------------------------------------

DEGRADE = ("--iqa-defense", "flip,median-blur", "--degradation", "noise,contrast")


@pytest.fixture(scope="module")
def degraded(folder: Path) -> None:
    assert run("degradations", folder, *DEGRADE) == ExitCode.PASS


def test_degradations_prints_a_line_for_each_defense_and_degradation(
    degraded: None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("degradations", folder, *DEGRADE, "--iqa-from-store") == ExitCode.PASS
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[1:5]] == [
        [defense, degradation] for defense in ("flip", "median-blur") for degradation in ("noise", "contrast")
    ]
    assert all(len(re.findall(r"[+-]\d+\.\d", line)) == 5 for line in lines[1:5])
    assert lines[-1].startswith("written: ")


def test_degradations_writes_what_it_printed(degraded: None, folder: Path) -> None:
    document = json.loads((folder / "out" / "degradations.json").read_text())
    table = pd.read_csv(folder / "out" / "degradations.csv")
    assert len(document["rows"]) == len(table) == 2 * 2 * 5
    assert document["size"] == [48, 64]
    for row in document["rows"]:
        assert row["bias"] == pytest.approx(row["defended"] - row["score"], abs=1e-6)  # the range is 0 to 100
        assert row["bias_low"] <= row["bias"] <= row["bias_high"]
    assert ElementTree.fromstring((folder / "out" / "degradations.svg").read_text()).tag.endswith("svg")


def test_a_bias_is_marked_where_it_is_sure_and_listed_where_it_does_harm() -> None:
    unsure = replace(HARM, bias=replace(SURE, low=-1.0))
    mild = degradations_command.described([HARM, replace(unsure, level=3)])
    assert "+4.0*" in mild
    assert "+4.0 " in mild
    assert " 25  25" in mild
    assert mild.endswith("beyond doubt: nothing")
    small = replace(HARM, level=4, bias=Interval(value=0.5, low=0.4, high=0.6, clusters=9))
    assert degradations_command.described([small]).endswith("nothing")
    worse = replace(HARM, level=5, defense="flip", bias=replace(SURE, value=5.0), lost=float("nan"))
    said = degradations_command.described([replace(HARM, level=5), worse])
    assert said.endswith("noise by flip (m, +5.0 %); noise by jpeg (m, +4.0 %)")
    assert "–" in said


def test_a_panel_for_each_degradation_a_line_for_each_defense() -> None:
    found = [
        replace(HARM, degradation=name, defense=defense, level=level, bias=bias)
        for name in LEVELS
        for defense, bias in (("jpeg", SURE), ("flip", Interval.unknown(1.0, 2)), ("crop", SURE))
        for level in (1, 2, 3)
    ]
    svg = ElementTree.fromstring(degradation_figure(found))
    assert len([node for node in svg.iter() if node.get("id", "").startswith("axes_")]) == 4
    assert degradation_figure(found, file_format="png").startswith(b"\x89PNG")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("detect", ("--detector", "score-chnge"), "unknown detector 'score-chnge'"),
        ("detect", ("--detector", "score-change:ms"), "is no purification"),
        ("detect", ("--iqa-attack", "nothing"), "unknown attack 'nothing'"),
        ("detect", ("--iqa-attack", "fgsm", "--rate", "2"), "strictly between 0 and 1"),
        ("detect", ("--iqa-images", "0"), "--iqa-images must be at least 1"),
        ("degradations", ("--degradation", "nois"), "did you mean noise?"),
        ("degradations", ("--iqa-defense", "none"), "no defense or no degradation is selected"),
        ("degradations", ("--iqa-defense", "jepg"), "did you mean jpeg"),
        ("degradations", ("--iqa-device", "abacus"), "no device"),
    ],
)
def test_what_is_misspelt_is_said(
    command: str, options: tuple[str, ...], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, folder, *options) == ExitCode.CONFIGURATION
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["detect", "degradations"])
def test_without_computing_a_missing_stage_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = DETECT if command == "detect" else DEGRADE
    (tmp_path / "store").mkdir()
    assert run(command, tmp_path, *options, "--iqa-from-store") == ExitCode.MISSING
    assert "not in the store" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "size"), [("48x64", (48, 64)), ("1x2", (1, 2))])
def test_a_size_is_height_by_width(text: str, size: tuple[int, int]) -> None:
    import argparse

    from iqa_robustness.bench.experiment import parsed_size

    assert parsed_size(text) == size
    for wrong in ("48", "0x3", "ax3", "48x", "-1x3"):
        with pytest.raises(argparse.ArgumentTypeError, match="no HEIGHTxWIDTH"):
            parsed_size(wrong)


def test_the_default_detectors_exist() -> None:
    import argparse

    from iqa_robustness.defenses import detectors

    parser = argparse.ArgumentParser()
    detect_command.add_arguments(parser)
    for name in parser.parse_args([]).detector.split(","):
        assert detectors.create(name).name == name
