"""Columns of a stage: joined over micro-batches, kept exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness.bench.columns import VALUES, array, joined, mean_trace, packed, unpacked
from iqa_robustness.store import Key, Store


def test_what_is_packed_comes_back_from_the_store_bit_by_bit(tmp_path: Path) -> None:
    columns = {
        "scores": np.array([0.1, np.nan, -np.inf]),
        "flags": np.array([True, False, True]),
        "counts": np.array([1, 2**40, -3]),
        "draws": np.arange(6.0).reshape(2, 3).T,  # not contiguous
    }
    found = unpacked(Store(str(tmp_path)).put(Key({"stage": "test"}), {VALUES: packed(columns)}))
    assert found.keys() == columns.keys()
    for name, values in columns.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_single_precision_becomes_double_and_whole_numbers_stay() -> None:
    values = torch.tensor([0.1, 0.2], requires_grad=True)
    assert array(values).dtype == np.float64
    assert array(values)[0] == float(values[0].detach())
    assert array(torch.tensor([1, 2])).dtype == np.int64
    assert array(torch.tensor([True])).dtype == np.bool_


def test_parts_are_joined_in_their_order() -> None:
    parts = [
        {"a": np.array([1.0]), "b": np.array([[1, 2]])},
        {"a": np.array([2.0, 3.0]), "b": np.array([[3, 4], [5, 6]])},
    ]
    whole = joined(parts)
    assert whole["a"].tolist() == [1, 2, 3]
    assert whole["b"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_traces_of_unequal_length_are_cut_to_the_shortest() -> None:
    assert mean_trace([(2, (1.0, 2.0, 3.0)), (1, (4.0, 5.0))]) == pytest.approx([2.0, 3.0])
    assert mean_trace([(2, ()), (1, ())]).shape == (0,)
    assert mean_trace([]).shape == (0,)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.integers(1, 11))
def test_a_mean_of_chunks_is_the_mean_of_all(values: list[float], size: int) -> None:
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    traces = [(len(chunk), (sum(chunk) / len(chunk),)) for chunk in chunks]
    assert mean_trace(traces)[0] == pytest.approx(sum(values) / len(values), abs=1e-9)
