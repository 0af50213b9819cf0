"""Checkpoints: whole or not at all, and only of the training that they belong to."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from iqa_robustness.attacks import checkpoint as module
from iqa_robustness.attacks.checkpoint import Checkpoint
from iqa_robustness.errors import ExitCode, StoreError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time stands still until a test sets it forward."""
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def state(value: float = 1.0) -> dict[str, Tensor]:
    return {"sum": torch.full((2, 3), value), "count": torch.tensor(7)}


def started(path: Path, *, training: str = "t") -> Checkpoint:
    made = Checkpoint(path=path / "deep" / "c.safetensors", training=training)
    made._saved = 0.0
    return made


def test_a_saved_state_is_found_with_its_step(tmp_path: Path, clock: SimpleNamespace) -> None:
    started(tmp_path).offer(12, lambda: state(0.5))
    found = started(tmp_path).load()
    assert found is not None
    step, tensors = found
    assert step == 12
    assert torch.equal(tensors["sum"], torch.full((2, 3), 0.5))
    assert tensors["count"].dtype == torch.int64


def test_nothing_is_written_again_before_its_time(tmp_path: Path, clock: SimpleNamespace) -> None:
    one, asked = started(tmp_path), []

    def made() -> dict[str, Tensor]:
        asked.append(1)
        return state()

    for step in range(1, 40):
        one.offer(step, made)
        clock.now += module.SECONDS_BETWEEN / 4 + 1e-9
    assert len(asked) == 10
    assert one.load() is not None
    assert one.load()[0] == 37


def test_a_training_that_has_just_begun_is_not_saved(tmp_path: Path, clock: SimpleNamespace) -> None:
    one = Checkpoint(path=tmp_path / "c.safetensors", training="t")
    one._saved = clock.now
    one.offer(1, state)
    assert one.load() is None
    assert list(tmp_path.iterdir()) == []


def test_a_newer_state_replaces_the_older_and_leaves_nothing_beside_it(tmp_path: Path, clock: SimpleNamespace) -> None:
    one = started(tmp_path)
    for step in (1, 2):
        one.offer(step, lambda: state(2.0))
        clock.now += module.SECONDS_BETWEEN
    assert [path.name for path in one.path.parent.iterdir()] == ["c.safetensors"]
    assert one.load()[0] == 2


def test_a_state_that_cannot_be_written_whole_leaves_the_older_one(
    tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = started(tmp_path)
    one.offer(1, state)
    clock.now += module.SECONDS_BETWEEN

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        with pytest.raises(StoreError, match=r"unfinished training cannot be written: .*No space left") as caught:
            one.offer(2, lambda: state(9.0))
    assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
    assert (caught.value.where.file, "free disk space" in caught.value.fix) == (str(one.path), True)
    assert one.load()[0] == 1
    assert [path.name for path in one.path.parent.iterdir()] == ["c.safetensors"]
    one.offer(3, state)
    assert one.load()[0] == 3, "the next one is tried again"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: SimpleNamespace) -> None:
    (tmp_path / "deep").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        started(tmp_path).offer(1, state)
    assert "deep" in caught.value.where.file


def test_another_trainings_state_is_not_taken_up(tmp_path: Path, clock: SimpleNamespace) -> None:
    started(tmp_path, training="one").offer(3, state)
    assert started(tmp_path, training="two").load() is None
    assert started(tmp_path, training="one").load() is not None


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_damaged_file_is_as_none(tmp_path: Path, clock: SimpleNamespace, kept: int) -> None:
    one = started(tmp_path)
    one.offer(3, state)
    one.path.write_bytes(one.path.read_bytes()[:kept])
    assert started(tmp_path).load() is None


def test_where_nothing_was_saved_nothing_is_found(tmp_path: Path) -> None:
    assert started(tmp_path).load() is None
