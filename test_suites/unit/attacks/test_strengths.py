"""Tables of strengths: what they say, how they are read and written, and each way to get one wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from iqa_robustness import attacks, metrics
from iqa_robustness.attacks.strengths import StrengthRow, StrengthTable
from iqa_robustness.errors import ConfigurationError, Where

ROW = {
    "attack": "ifgsm",
    "metric": "compact",
    "weak": {"alpha": 0.001},
    "medium": {"alpha": 0.002},
    "strong": {"alpha": 0.004, "steps": 20},
}


def row(**changes: object) -> StrengthRow:
    return StrengthRow.model_validate({**ROW, **changes})


def table_at(path: Path, *rows: object, schema: object = 1) -> Path:
    file = path / "strengths.yaml"
    file.write_text(yaml.safe_dump({"schema": schema, "strengths": [*rows]}), encoding="utf-8")
    return file


def test_a_metrics_own_row_goes_before_that_of_all() -> None:
    table = StrengthTable().completed(row()).completed(row(metric="*", weak={"alpha": 0.5}))
    assert table.fields("ifgsm", "compact", "weak") == {"alpha": 0.001}
    assert table.fields("ifgsm", "lite0", "weak") == {"alpha": 0.5}
    assert table.fields("ifgsm", "compact", "strong") == {"alpha": 0.004, "steps": 20}
    assert table.fields("square", "compact", "weak") is None


def test_a_new_row_takes_the_place_of_the_old_one() -> None:
    table = StrengthTable().completed(row()).completed(row(weak={"alpha": 0.3}))
    assert len(table.rows) == 1
    assert table.fields("ifgsm", "compact", "weak") == {"alpha": 0.3}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    measured = {"weak": {"linf": 0.0078, "gain": 0.5}}
    table = StrengthTable().completed(row(measured=measured, source="somewhere")).completed(row(attack="square"))
    file = tmp_path / "strengths.yaml"
    file.write_text(table.to_yaml(), encoding="utf-8")
    assert StrengthTable.read(file) == table


def test_callers_may_change_what_they_are_given() -> None:
    table = StrengthTable().completed(row())
    found = table.fields("ifgsm", "compact", "weak")
    assert found is not None
    found["alpha"] = 9
    assert table.fields("ifgsm", "compact", "weak") == {"alpha": 0.001}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "weka": {}}], "row 1 .*weka"),
        ([ROW, {name: value for name, value in ROW.items() if name != "strong"}], "row 2 .*strong"),
        ([{**ROW, "weak": 3}], "row 1 .*weak"),
        ([ROW, ROW], "row 2 .*ifgsm on compact stands there twice"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: list[object], message: str) -> None:
    file = table_at(tmp_path, *rows)
    with pytest.raises(ConfigurationError, match=message) as caught:
        StrengthTable.read(file)
    assert caught.value.where.file == str(file)


def test_another_schema_no_file_and_no_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="schema: 1"):
        StrengthTable.read(table_at(tmp_path, ROW, schema=2))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        StrengthTable.read(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="no YAML"):
        StrengthTable.parsed("a: [", where=Where(file="x"))


# --- the published table --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> StrengthTable:
    return StrengthTable.published()


def test_every_published_row_sets_fields_of_a_registered_attack(published: StrengthTable) -> None:
    assert {"ifgsm", "square", "uap"} <= {attack for attack, _ in published.rows}
    for (attack, metric), found in published.rows.items():
        known = {field.name for field in dataclasses.fields(attacks.registry.load(attack))}
        assert metric in metrics.registry
        for strength in attacks.STRENGTHS:
            assert set(getattr(found, strength)) <= known, (attack, metric)
        assert len({str(getattr(found, strength)) for strength in attacks.STRENGTHS}) == 3, (attack, metric)


def test_published_numbers_are_those_of_the_published_table(published: StrengthTable) -> None:
    assert published.fields("ifgsm", "koncept", "strong") == {"alpha": 0.00326284}
    assert published.fields("uap", "spaq", "weak") == {"epsilon": 0.00784309}
    assert published.fields("nes", "fpr", "strong") == {"epsilon": 0.0313725}
    assert [published.fields("onepixel", "maniqa", strength) for strength in attacks.STRENGTHS] == [
        {"count": 10},
        {"count": 20},
        {"count": 40},
    ]
    measured = published.rows["ifgsm", "fpr"].measured["strong"]
    assert measured == {"linf": 0.0314, "psnr": 37.7, "ssim": 0.9306, "gain": 7.438}
    gains = [published.rows["nes", "koncept"].measured[strength]["gain"] for strength in attacks.STRENGTHS]
    assert gains == [0.044, 0.157, 0.371]
    assert published.rows["onepixel", "koncept"].measured == {}


def test_weak_is_the_least_visible(published: StrengthTable) -> None:
    for key, found in published.rows.items():
        linf = [found.measured[strength]["linf"] for strength in attacks.STRENGTHS if strength in found.measured]
        ssim = [found.measured[strength]["ssim"] for strength in attacks.STRENGTHS if strength in found.measured]
        assert linf == sorted(linf), key
        assert ssim == sorted(ssim, reverse=True), key
