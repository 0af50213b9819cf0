"""Score ranges with their evidence, and the refusal of declared ranges that would shrink every shift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, RangesFileError, RangeTooWideError
from iqa_robustness.metrics import brisque, cnniqa, niqe
from iqa_robustness.metrics.base import MetricSpec
from iqa_robustness.metrics.ranges import WIDEST, RangeEntry, Ranges, check_declared_range

PUBLISHED = {
    "meta-iqa": 1.0,
    "maniqa": 1.0,
    "koncept": 40.46619606018066,
    "spaq": 56.00674438476563,
    "paq2piq": 25.7907257080078,
    "linearity": 57.44628524780274,
    "fpr": 29.82189559936524,
}


def calibrated(**changes: Any) -> RangeEntry:
    known: dict[str, Any] = {
        "metric": "own",
        "kind": "calibrated",
        "low": 10.0,
        "high": 60.0,
        "version": "1",
        "source": "a test",
        "images": 50,
        "quantiles": (0.01, 0.99),
    }
    return RangeEntry(**{**known, **changes})


def spec(low: float, high: float, **changes: Any) -> MetricSpec:
    return MetricSpec(**{"name": "own", "score_range": (low, high), **changes})


def ranges(*entries: RangeEntry) -> Ranges:
    return Ranges(entries={(entry.metric, entry.kind): entry for entry in entries})


def text(*rows: str) -> str:
    return "schema: 1\nranges:\n" + "".join(f"- {row}\n" for row in rows)


ROW = "{metric: own, kind: nominal, low: 1, high: 10, version: '1', source: a scale}"


# --- the package's file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", PUBLISHED)
def test_the_published_ranges_are_the_benchmarks(metric: str) -> None:
    entry = Ranges.bundled().entries[metric, "published"]
    assert entry.width == pytest.approx(PUBLISHED[metric], rel=1e-8)
    assert "bounds.json" in entry.source


def test_every_entry_belongs_to_a_registered_metric_and_every_metric_has_one() -> None:
    assert {metric for metric, _ in Ranges.bundled().entries} == set(metrics.registry.names())


def test_nima_has_a_nominal_range_that_is_no_calibration() -> None:
    entries = Ranges.bundled().entries
    assert (entries["nima", "nominal"].low, entries["nima", "nominal"].high) == (1, 10)
    assert ("nima", "calibrated") not in entries


@pytest.mark.parametrize("module", [brisque, niqe, cnniqa], ids=lambda module: module.__name__.rpartition(".")[2])
def test_ranges_in_the_code_are_those_in_the_file(module: Any) -> None:
    entry = Ranges.bundled().entries[module.__name__.rpartition(".")[2], "calibrated"]
    assert (entry.low, entry.high) == module.RANGE
    check_declared_range(MetricSpec(name=entry.metric, score_range=module.RANGE), entry)


@pytest.mark.parametrize("name", ["compact", "lite0"])
def test_the_bundled_metrics_declare_what_was_measured_of_them(name: str) -> None:
    entry = Ranges.bundled().entries[name, "calibrated"]
    assert entry.calibration is not None
    assert len(entry.calibration.image_ids) == entry.images == 50
    metric = metrics.create(name)
    assert metric.spec.version == entry.version
    Ranges.bundled().check(metric.spec)


# --- the check ------------------------------------------------------------------------------------------------------


@given(
    low=st.floats(-1e3, 1e3),
    width=st.floats(1e-3, 1e4),
    factor=st.floats(0.01, 10).filter(lambda x: abs(x - WIDEST) > 1e-3),
)
def test_only_the_widths_are_compared(low: float, width: float, factor: float) -> None:
    entry = calibrated(low=0.0, high=width)
    declared = spec(low, low + factor * width)
    if declared.diam > WIDEST * entry.width:
        with pytest.raises(RangeTooWideError):
            check_declared_range(declared, entry)
    else:
        check_declared_range(declared, entry)


def test_the_limit_itself_is_accepted() -> None:
    check_declared_range(spec(0, 60), calibrated(low=0.0, high=50.0))


def test_the_message_says_both_widths() -> None:
    with pytest.raises(ConfigurationError) as raised:
        check_declared_range(spec(0, 100), calibrated())
    said = str(raised.value)
    for part in ("(0, 100), width 100", "(10, 60), width 50", "2.00 times", "1.2", "a test", "--iqa-ranges"):
        assert part in said
    assert raised.value.where.metric == "own"


@pytest.mark.parametrize("kind", ["published", "nominal"])
def test_only_calibrations_are_held_against_a_metric(kind: str) -> None:
    ranges(calibrated(kind=kind)).check(spec(0, 100))


def test_another_version_has_other_scores() -> None:
    known = ranges(calibrated(version="1"))
    known.check(spec(0, 100, version="2"))
    with pytest.raises(RangeTooWideError):
        known.check(spec(0, 100, version="1"))


def test_a_metric_is_known_by_the_name_it_was_created_by_or_by_its_own() -> None:
    for metric in ("package.module:Own", "own"):
        with pytest.raises(RangeTooWideError):
            ranges(calibrated(metric=metric)).check(spec(0, 100), name="package.module:Own")
    ranges(calibrated(metric="other")).check(spec(0, 100), name="package.module:Own")


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_users_entry_goes_before_the_packages(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ranges(calibrated(metric="compact")).to_yaml(), encoding="utf-8")
    loaded = Ranges.load(path).entries
    assert loaded["compact", "calibrated"].width == 50
    assert loaded["lite0", "calibrated"] == Ranges.bundled().entries["lite0", "calibrated"]


def test_what_is_written_is_read_back() -> None:
    bundled = Ranges.bundled()
    assert Ranges.parsed(bundled.to_yaml(), name="text") == bundled


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no YAML"),
        ("", "the file"),
        ("schema: 2\nranges: []\n", "schema"),
        (text(ROW, ROW), "more than one nominal range"),
        (text(ROW.replace("low: 1", "low: 10")), "not below"),
        (text(ROW.replace("low: 1", "low: .nan")), "ranges.0.low"),
        (text(ROW.replace("nominal", "calibrated")), "how many images"),
        (text(ROW.replace("nominal", "guessed")), "ranges.0.kind"),
        (text(ROW.replace("source", "sauce")), "ranges.0.sauce"),
    ],
)
def test_a_file_that_does_not_say_what_it_should_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RangesFileError, match=said) as raised:
        Ranges.load(path)
    assert raised.value.where.file == str(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RangesFileError, match="cannot read"):
        Ranges.load(tmp_path / "gone.yaml")
