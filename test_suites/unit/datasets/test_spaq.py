"""`spaq:PATH`: a spreadsheet of scores, or the csv saved from it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from iqa_robustness import datasets
from iqa_robustness.datasets.spaq import SHEET, Spaq
from iqa_robustness.errors import DatasetError

ROWS = [["Image name", "MOS", "Brightness"], ["00001.jpg", 30.5, 40], ["00002.jpg", 71, 55]]


@pytest.fixture
def root(tmp_path: Path, put: Callable[..., Path]) -> Path:
    for number in (1, 2):
        put(tmp_path / "TestImage" / f"{number:05d}.jpg", number, 20, 30)
    (tmp_path / "Annotations").mkdir()
    return tmp_path


def as_csv(root: Path, table: Callable[..., Path], rows: list[list[object]]) -> Spaq:
    table((root / "Annotations" / SHEET).with_suffix(".csv"), [",".join(map(str, row)) for row in rows])
    return Spaq(str(root))


def as_sheet(root: Path, rows: list[list[object]]) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in rows:
        book.active.append(row)
    book.save(root / "Annotations" / SHEET)


def test_the_sheet_and_its_csv_read_the_same(root: Path, table: Callable[..., Path]) -> None:
    as_sheet(root, ROWS)
    sheet = datasets.load(f"spaq:{root}")
    assert [(item.id, item.mos) for item in sheet.items] == [("00001", 30.5), ("00002", 71.0)]
    assert as_csv(root, table, ROWS).digest == sheet.digest


def test_the_csv_is_enough(root: Path, table: Callable[..., Path]) -> None:
    data = as_csv(root, table, ROWS)
    assert [(item.id, item.mos, item.content) for item in data.items] == [
        ("00001", 30.5, "00001"),
        ("00002", 71.0, "00002"),
    ]
    assert data[1].image.shape == (3, 20, 30)


def test_without_openpyxl_the_error_says_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "Annotations" / SHEET).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DatasetError, match="openpyxl") as caught:
        Spaq(str(root))
    assert "xlsx" in caught.value.fix
    assert "csv" in caught.value.fix


def test_a_damaged_sheet_is_named(root: Path) -> None:
    pytest.importorskip("openpyxl")
    (root / "Annotations" / SHEET).write_bytes(b"PK no zip")
    with pytest.raises(DatasetError, match="cannot read the sheet"):
        Spaq(str(root))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["00001.jpg", 3], "duplicate row: '00001.jpg' is line 2 again"),
        (["00003.jpg", 3], "no file TestImage/00003.jpg"),
        (["00002.jpg", ""], "the row has no MOS"),
        (["../TestImage/00002.jpg", 3], "no file"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(
    root: Path, table: Callable[..., Path], row: list[object], words: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        as_csv(root, table, [*ROWS[:2], row])
    assert words in caught.value.what
    assert caught.value.where.line == 3


def test_a_folder_without_scores_is_refused(root: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read the table"):
        Spaq(str(root))
