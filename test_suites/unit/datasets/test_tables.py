"""Tables of images and scores: what is read, and errors that name file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iqa_robustness.datasets.tables import read_table
from iqa_robustness.errors import DatasetError


def test_line_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('file, mos \n a.png , 1\n\n"b,\nc.png",2,more\nd.png\n', encoding="utf-8")
    table = read_table(file, dataset="d")
    assert table.columns == ("file", "mos")
    assert [*table] == [
        (2, {"file": "a.png", "mos": "1"}),
        (5, {"file": "b,\nc.png", "mos": "2"}),
        (6, {"file": "d.png", "mos": ""}),
    ]


def test_parquet_reads_as_the_same_csv_does(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["a.png", None, "c.png"], "mos": [1.25, np.nan, 1 / 3]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", dataset="d")
    assert table.columns == ("file", "mos")
    assert [line for line, _ in table] == [1, 3], "a row of nothing is blank"
    assert [table.number(row["mos"], line) for line, row in table] == [1.25, 1 / 3]


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    (tmp_path / "set=1").mkdir()
    pd.DataFrame({"file": ["a"]}).to_parquet(tmp_path / "set=1" / "t.parquet")
    assert read_table(tmp_path / "set=1" / "t.parquet", dataset="d").columns == ("file",)


def test_a_column_is_asked_for_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,score\na,1\n", encoding="utf-8")
    table = read_table(tmp_path / "t.csv", dataset="d")
    assert table.require("file", "name") == "name"
    with pytest.raises(DatasetError, match="no column 'mos'; the table has name, score") as caught:
        table.require("mos", "MOS")
    assert caught.value.where.line == 1
    assert "mos or MOS" in caught.value.fix


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1,5"])
def test_what_is_no_finite_number_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text("name\na\n", encoding="utf-8")
    table = read_table(tmp_path / "t.csv", dataset="d")
    with pytest.raises(DatasetError, match="no finite number") as caught:
        table.number(text, 7)
    assert (caught.value.where.line, caught.value.where.file) == (7, str(tmp_path / "t.csv"))


@pytest.mark.parametrize("content", [b"", b"\n", b"a\xff,b\n"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"t{suffix}"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match="table") as caught:
        read_table(file, dataset="d")
    assert caught.value.where.file == str(file)
    assert caught.value.where.dataset == "d"


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read the table"):
        read_table(tmp_path / "none.csv", dataset="d")
