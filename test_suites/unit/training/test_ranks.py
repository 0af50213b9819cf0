"""One process where no launcher says otherwise; several are tried in test_adversarial_command.py."""

from __future__ import annotations

import pytest
from torch import distributed, nn

from iqa_robustness.training.ranks import Ranks


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks.of_launcher()
    network = nn.Linear(1, 1)
    assert (ranks.number, ranks.count, ranks.leads) == (0, 1, True)
    assert ranks.wrapped(network) is network
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Ranks.of_launcher() == ranks
    assert not distributed.is_initialized()


def test_only_the_first_of_several_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(distributed, "is_initialized", lambda: False)
    started: list[str] = []
    monkeypatch.setattr(distributed, "init_process_group", started.append)
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    ranks = Ranks.of_launcher()
    assert (ranks.number, ranks.count, ranks.leads) == (2, 3, False)
    assert len(started) == 1


def test_each_of_several_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert Ranks(number=6, count=8).device("cuda") == "cuda:2"
    assert Ranks(number=6, count=8).device("cpu") == "cpu"
    assert Ranks(number=6, count=8).device("cuda:5") == "cuda:5"
    assert Ranks().device("cuda") == "cuda"
