"""pyiqa's table of metrics: what is taken from it, what is refused, and that reading it imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness import metrics
from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.metrics import pyiqa_table
from iqa_robustness.metrics.pyiqa_table import Row, parsed_range

REAL = pytest.mark.skipif(not pyiqa_table.installed(), reason="pyiqa is not installed")

TABLE = """
DEFAULT_CONFIGS = {
    "sharp": {"metric_opts": {"type": "Sharp"}, "metric_mode": "NR", "score_range": "~0, ~100"},
    "sharp+": {"metric_opts": {"type": "Sharp"}, "metric_mode": "NR", "score_range": "-3, ~0.5", "lower_better": True},
    "open": {"metric_opts": {"type": "Open"}, "metric_mode": "NR", "score_range": "~0, ~"},
    "bare": {"metric_opts": {"type": "Bare"}, "metric_mode": "NR"},
    "likeness": {"metric_opts": {"type": "SSIM"}, "metric_mode": "FR", "score_range": "0, 1"},
    "fid": {"metric_opts": {"type": "FID"}, "metric_mode": "NR", "score_range": "0, ~"},
    "clipscore": {"metric_opts": {"type": "CLIPScore"}, "metric_mode": "NR", "score_range": "0, 2.5"},
    "inception_score": {"metric_opts": {"type": "InceptionScore"}, "metric_mode": "NR", "score_range": "0, ~"},
}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `pyiqa` that holds the table and fails when it is imported."""
    folder = tmp_path / "pyiqa"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('nobody may import this')")
    (folder / "default_model_configs.py").write_text(TABLE)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyiqa_table, "installed", lambda: False)


# --- ranges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("~0, ~100", (0, 100)),
        ("1, 10", (1, 10)),
        ("~-1, ~0.1", (-1, 0.1)),
        ("-2,2", (-2, 2)),
        ("0, ~", None),
        ("~, 2", None),
        ("~0, ~", None),
        ("", None),
        ("quality: 0, 1; rank: 0, 2; rank_prob: 0, 1", None),
        ("3, 3", None),
        ("5, 1", None),
        ("0, inf", None),
        ("nan, 1", None),
        ("0, 1, 2", None),
    ],
)
def test_a_range_is_taken_when_both_ends_are_said(stated: str, found: tuple[float, float] | None) -> None:
    assert parsed_range(stated) == found


@given(st.text())
def test_no_text_makes_a_range_that_is_not_finite_and_ordered(stated: str) -> None:
    found = parsed_range(stated)
    assert found is None or float("-inf") < found[0] < found[1] < float("inf")


# --- the table ------------------------------------------------------------------------------------------------------


def test_a_row_holds_kind_direction_and_range(package: Path) -> None:
    assert pyiqa_table.row("sharp+") == Row(
        name="sharp+",
        kind="Sharp",
        full_reference=False,
        higher_is_better=False,
        score_range=(-3, 0.5),
        stated="-3, ~0.5",
    )
    assert pyiqa_table.row("sharp").higher_is_better
    assert pyiqa_table.row("open").score_range is None
    assert pyiqa_table.row("bare").stated == ""


def test_names_are_those_that_score_one_image(package: Path) -> None:
    assert pyiqa_table.names() == ("bare", "likeness", "open", "sharp", "sharp+")


def test_a_metric_with_a_reference_says_so(package: Path) -> None:
    assert pyiqa_table.row("likeness").full_reference
    assert not pyiqa_table.row("sharp").full_reference


@pytest.mark.parametrize(
    ("name", "what"), [("fid", "two sets"), ("inception_score", "a set"), ("clipscore", "caption")]
)
def test_what_scores_no_image_alone_is_refused(package: Path, name: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        pyiqa_table.row(name)


def test_an_unknown_name_is_answered_with_close_ones(package: Path) -> None:
    with pytest.raises(UnknownNameError, match="'shrap'") as caught:
        pyiqa_table.row("shrap")
    assert "sharp" in caught.value.suggestions


@pytest.mark.parametrize("content", ["import no_such_module_at_all", "DEFAULT_CONFIGS = {'a': {}}", "x = 1", "("])
def test_a_table_of_another_kind_is_a_named_error(package: Path, content: str) -> None:
    (package / "default_model_configs.py").write_text(content)
    with pytest.raises(ConfigurationError, match="table of metrics cannot be read"):
        pyiqa_table.names()


# --- through the registry -------------------------------------------------------------------------------------------


def test_a_name_resolves_to_the_familys_entry(package: Path) -> None:
    entry = metrics.registry.resolve("pyiqa:sharp+")
    assert (entry.name, entry.target) == ("pyiqa:sharp+", "iqa_robustness.metrics.pyiqa_adapter:PyIQA")
    assert "Noncommercial" in entry.licence


def test_a_pattern_with_the_prefix_selects_members_and_others_do_not(package: Path) -> None:
    assert metrics.registry.matching("pyiqa:sharp*") == ["pyiqa:sharp", "pyiqa:sharp+"]
    assert not any(name.startswith("pyiqa") for name in metrics.registry.matching("*"))
    assert metrics.registry.matching("pyiqa:x*") == []


def test_the_members_are_not_listed(package: Path) -> None:
    assert not any(":" in entry.name for entry in metrics.list())


# --- without pyiqa --------------------------------------------------------------------------------------------------


def test_without_pyiqa_creating_names_the_extra(absent: None) -> None:
    with pytest.raises(ConfigurationError, match="pyiqa is not installed") as caught:
        metrics.create("pyiqa:niqe")
    assert "iqa-robustness[pyiqa]" in caught.value.fix
    assert caught.value.where.metric == "pyiqa:niqe"


def test_without_pyiqa_a_stored_name_still_resolves_and_a_pattern_does_not(absent: None) -> None:
    assert metrics.registry.resolve("pyiqa:anything").name == "pyiqa:anything"
    with pytest.raises(ConfigurationError, match="not installed"):
        metrics.registry.matching("pyiqa:*")


# --- the installed library ------------------------------------------------------------------------------------------


@pytest.fixture
def real() -> Mapping[str, Row]:
    return pyiqa_table.rows()


@REAL
def test_the_installed_table_has_ranges_for_nearly_all(real: Mapping[str, Row]) -> None:
    names = pyiqa_table.names()
    assert {"brisque", "entropy", "musiq", "niqe", "piqe"} <= set(names)
    assert {"dists", "lpips", "ms_ssim", "ssim"} <= {name for name in names if real[name].full_reference}
    assert not {"fid", "clipscore"} & set(names)
    alone = [name for name in names if not real[name].full_reference]
    assert [name for name in alone if real[name].score_range is None] == ["pi"]
    assert real["niqe"].score_range == (0, 100)
    assert not real["niqe"].higher_is_better
    assert real["musiq"].higher_is_better


@REAL
def test_reading_the_table_imports_neither_pyiqa_nor_torch() -> None:
    check = (
        "import sys; from iqa_robustness import metrics; metrics.registry.resolve('pyiqa:niqe');"
        "sys.exit(bool({'torch', 'pyiqa'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
