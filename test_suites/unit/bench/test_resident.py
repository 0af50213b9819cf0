"""Memory of this process: what Linux says of it, and nothing where nobody says anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from iqa_robustness.bench import resident
from iqa_robustness.bench.resident import peak_mebibytes, resident_mebibytes, restart_peak

STATUS = "Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\nThreads:\t1\n"


def test_fields_are_read_as_mebibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "status"
    file.write_text(STATUS)
    monkeypatch.setattr(resident, "_STATUS", file)
    assert (resident_mebibytes(), peak_mebibytes()) == (100.0, 200.0)


def test_without_such_files_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_STATUS", tmp_path / "absent")
    assert (resident_mebibytes(), peak_mebibytes()) == (None, None)
    monkeypatch.setattr(resident, "_RESTART", tmp_path / "no-folder" / "absent")
    assert restart_peak() is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_peak_is_seen_after_it_is_over_and_forgotten_when_asked() -> None:
    before = restart_peak()
    if before is None:
        pytest.skip("a container that does not let its peak be reset")
    size = 96
    taken = torch.ones(size * 2**18)
    assert taken.sum().item() == size * 2**18
    del taken
    peak, after = peak_mebibytes(), restart_peak()
    assert peak is not None
    assert after is not None
    assert size * 0.9 < peak - before < size * 1.5
    lowered = peak_mebibytes()
    assert lowered is not None
    assert lowered < before + size / 2
