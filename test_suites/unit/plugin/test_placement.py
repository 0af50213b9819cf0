"""GPUs of workers go by gateway, so a dead one's successor has its GPU; in other repositories nothing is touched."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from iqa_robustness.plugin.placement import pytest_xdist_auto_num_workers, pytest_xdist_setupnodes, usable_gpus

LISTING = """#!/bin/sh
case "$1" in
  -L) echo "GPU 0: X (UUID: GPU-a)"; echo "GPU 1: X (UUID: GPU-b)";;
  *) echo "GPU-a, 8000"; echo "GPU-b, 8000";;
esac
"""
SEEN = """
import json, os, pathlib

def pytest_configure(config):
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        facts = [os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS")]
        pathlib.Path(f"{worker}.json").write_text(json.dumps(facts))
"""
TESTS = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(8))
def test_where(number):
    if number == 0:
        pathlib.Path("died").write_text(os.environ["PYTEST_XDIST_WORKER"])
        os._exit(9)
"""


@pytest.fixture
def two_gpus(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A machine whose `nvidia-smi` lists two."""
    program = pytester.path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(LISTING)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTEST_XDIST_AUTO_NUM_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeconftest(SEEN)
    pytester.makepyfile(TESTS)
    return pytester


def seen(pytester: pytest.Pytester) -> dict[str, list[str | None]]:
    """GPU and threads of each worker."""
    return {path.stem: json.loads(path.read_text()) for path in pytester.path.glob("gw?.json")}


def test_each_worker_has_a_gpu_and_its_successor_the_same(
    two_gpus: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two_gpus.path / "thresholds.yaml").write_text("version: 1\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,GPU-b")
    result = two_gpus.runpytest_subprocess("-p", "no:cacheprovider", "-n", "auto", "--max-worker-restart=2")
    result.assert_outcomes(passed=7, failed=1)
    found = seen(two_gpus)
    assert found.keys() == {"gw0", "gw1", "gw2"}
    assert {found["gw0"][0], found["gw1"][0]} == {"6", "GPU-b"}
    assert found["gw2"] == found[(two_gpus.path / "died").read_text()]
    assert all(threads is not None for _, threads in found.values())
    assert "image-quality" not in result.stdout.str(), "no suite took part"
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_thresholds_nothing_is_touched(two_gpus: pytest.Pytester) -> None:
    result = two_gpus.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2")
    result.assert_outcomes(passed=7, failed=1)
    assert [*seen(two_gpus).values()] == [[None, None]] * 3


class Config:
    """Of a repository, with the options that are asked for."""

    def __init__(self, path: Any, **given: str) -> None:
        self.rootpath, self._given = path, {f"iqa_{name}": value for name, value in given.items()}
        self.stash: Any = pytest.Stash()

    def getoption(self, name: str) -> str | None:
        return self._given.get(name)

    def getini(self, name: str) -> str:
        return ""


def spec(**more: Any) -> Any:
    return SimpleNamespace(**{"popen": True, "via": None, "env": {}} | more)


def test_what_is_said_of_a_worker_goes_first_and_other_hosts_know_better(two_gpus: pytest.Pytester) -> None:
    (two_gpus.path / "thresholds.yaml").write_text("version: 1\n")
    own, remote, proxied, plain = spec(env={"CUDA_VISIBLE_DEVICES": "7"}), spec(popen=None), spec(via="host"), spec()
    config: Any = Config(two_gpus.path)
    pytest_xdist_setupnodes(config, [own, remote, proxied, plain])
    assert own.env["CUDA_VISIBLE_DEVICES"] == "7"
    assert plain.env["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert remote.env == proxied.env == {}


@pytest.mark.parametrize(("device", "count"), [("", 2), ("cuda", 2), ("cuda:1", None), ("cpu", None)])
def test_a_device_of_the_users_choice_is_not_spread(two_gpus: pytest.Pytester, device: str, count: int | None) -> None:
    (two_gpus.path / "thresholds.yaml").write_text("version: 1\n")
    config: Any = Config(two_gpus.path, device=device)
    assert len(usable_gpus(config)) == (count or 0)
    assert pytest_xdist_auto_num_workers(config) == count


def test_measured_memory_decides_how_many_share_a_gpu(
    two_gpus: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iqa_robustness.store import Key, Store

    (two_gpus.path / "thresholds.yaml").write_text("version: 1\n")
    Store(two_gpus.path / "cells").put(Key({"n": 1}), {"record.parquet": b""}, volatile={"mebibytes": 1000.0})
    monkeypatch.setattr("iqa_robustness.plugin.placement._cores", lambda: 32)
    config: Any = Config(two_gpus.path, store="cells")
    assert pytest_xdist_auto_num_workers(config) == 2 * 4  # 8,000 less a tenth takes four of 1,700
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "3")
    assert pytest_xdist_auto_num_workers(config) is None
