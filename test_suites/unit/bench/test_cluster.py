"""What a cell takes of a cluster, how one is reached, and what is said of lost tasks; none is started."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from iqa_robustness.bench.runners.cluster import Cluster, Share, lost
from iqa_robustness.errors import ClusterError, ConfigurationError, ExitCode

ray = pytest.importorskip("ray")


def test_a_share_is_read_as_it_is_written() -> None:
    assert Share.parsed("") == Share()
    assert Share.parsed("cpus=2, gpus=0.5,memory=1.5GiB") == Share(cpus=2, gpus=0.5, memory=3 * 2**29)
    assert Share.parsed("memory=300MiB").memory == 300 * 2**20


@pytest.mark.parametrize("text", ["cpus", "cpus=", "cpus=-1", "cpus=1GiB", "memory=8", "tpus=1", "gpus=all", "cpus:1"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no amount of anything"):
        Share.parsed(text)


def test_a_cell_on_cuda_takes_a_gpu_unless_told_otherwise() -> None:
    assert Share().options(on_gpu=False) == {"num_cpus": 1, "num_gpus": 0.0}
    assert Share().options(on_gpu=True) == {"num_cpus": 1, "num_gpus": 1.0}
    assert Share(gpus=0.25, memory=7).options(on_gpu=True) == {"num_cpus": 1, "num_gpus": 0.25, "memory": 7}


def test_slots_are_what_fits_on_each_living_node() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "memory": 16 * 2**30}},
        {"Alive": True, "Resources": {"CPU": 3.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 2**40}},
    ]
    seen = SimpleNamespace(nodes=lambda: nodes)
    assert Cluster().slots(seen, on_gpu=False) == 8 + 3
    assert Cluster().slots(seen, on_gpu=True) == 2
    assert Cluster(share=Share(gpus=0.1)).slots(seen, on_gpu=True) == 8
    assert Cluster(share=Share(memory=6 * 2**30)).slots(seen, on_gpu=False) == 2
    assert Cluster(share=Share(cpus=4)).slots(seen, on_gpu=False) == 2
    assert Cluster(share=Share(cpus=4, gpus=4)).slots(seen, on_gpu=True) == 0


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError) as missing, Cluster().connected():
        pass
    assert missing.value.fix == "pip install 'iqa-robustness[ray]'"


def test_an_address_where_nobody_answers_is_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: Any) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(ray, "init", unreachable)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(ClusterError, match="no Ray cluster can be used at far:6379: refused") as caught,
        Cluster(address="far:6379").connected(),
    ):
        pass
    assert caught.value.exit_code == ExitCode.INFRASTRUCTURE


def test_a_connection_is_closed_again_and_one_that_was_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options["address"]))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    for before, address in ((False, "far:6379"), (False, ""), (True, "")):
        monkeypatch.setattr(ray, "is_initialized", lambda before=before: before)
        with Cluster(address=address).connected() as found:
            assert found is ray
    assert calls == ["far:6379", "shutdown", "local", "shutdown"]


@pytest.mark.parametrize(
    ("error", "said", "advice"),
    [
        (ray.exceptions.WorkerCrashedError(), "its process ended without a word", "--iqa-runner local"),
        (ray.exceptions.NodeDiedError("gone"), "its node was lost: gone", "run again"),
        (ray.exceptions.OutOfMemoryError("too much"), "its node ran out of memory: too much", "--iqa-micro-batch"),
        (ray.exceptions.RaySystemError("what\n\n  was it"), "RaySystemError: ", "same iqa-robustness"),
    ],
)
def test_what_was_lost_is_told_apart(error: Exception, said: str, advice: str) -> None:
    found = lost(ray, error, "cell x")
    assert found.what.startswith("cell x: ")
    assert said in found.what
    assert advice in found.fix
