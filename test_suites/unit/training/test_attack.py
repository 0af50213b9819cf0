"""`iqa-robustness train attack`: it leaves what a run finds, says how far it is, and survives being killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from iqa_robustness import attacks
from iqa_robustness.attacks.artefact import Artefact
from iqa_robustness.attacks.objectives import LOWER
from iqa_robustness.attacks.uap import UAP
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.cli import main
from iqa_robustness.datasets import leaves
from iqa_robustness.errors import ExitCode
from iqa_robustness.metrics.planted import Vulnerable
from iqa_robustness.store import Store

PLANTED = "iqa_robustness.metrics.planted:"
Run = Callable[..., int]


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "PICTURES", 4)
    monkeypatch.setattr(leaves, "_SHAPES", 30)


@pytest.fixture
def train(tmp_path: Path) -> Run:
    """The command, with a store of its own; returns its exit code."""

    def run(attack: str, *arguments: str, metric: str = "Vulnerable") -> int:
        store = str(tmp_path / "store")
        where = ("--iqa-metric", f"{PLANTED}{metric}", "--iqa-store", store, "--device", "cpu")
        return main(["train", "attack", attack, *where, *arguments])

    return run


def entries(path: Path) -> list[str]:
    return sorted(entry.name for entry in (path / "store").glob("v1/entries/*/*"))


def cell(**fields: Any) -> Cell:
    """What a run of the smoke profile makes of `--iqa-attack=uap --iqa-metric=…:Vulnerable`."""
    known: dict[str, Any] = {"metric": f"{PLANTED}Vulnerable", "defense": "none", "attack": "uap", "strength": "medium"}
    known |= {"scenario": "nonadaptive", "dataset": "mini", "images": None, "size": (192, 256), "queries": 200}
    return Cell(**{**known, "draws": 2, "n0": 20, "n": 200, **fields})


# --- what it leaves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ((), {}),
        (("--goal", "lower", "--iqa-strength", "strong"), {"goal": "lower", "strength": "strong"}),
        (("--seed", "3"), {"seed": 3}),
        (("--iqa-defense", "flip"), {"defense": "flip", "scenario": "adaptive"}),
    ],
    ids=["plain", "lower", "seed", "defense"],
)
def test_a_run_finds_what_was_trained(
    arguments: tuple[str, ...], fields: dict[str, Any], train: Run, tmp_path: Path
) -> None:
    assert train("uap", *arguments) == 0
    runner = LocalRunner(Store(tmp_path / "store"), Numerics(device="cpu", micro_batch=4))
    one = cell(**fields)
    assert entries(tmp_path) == [runner.key(one, runner.pair(one)).document["training"]]


def test_the_file_is_used_in_python(train: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "uap.safetensors"
    assert train("uap", "--goal", "lower", "--epochs", "5", "--out", str(out)) == 0
    attack = attacks.create("uap", artefact=out)
    clean = torch.full((1, 3, 192, 256), 0.5)
    result = attack(Vulnerable(), clean, goal=LOWER)
    assert float(result.values - result.clean_values) == pytest.approx(0.5, rel=0.01)


def test_what_was_trained_before_is_found_and_not_trained_again(
    train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("uap", "--epochs", "2") == 0
    before, said = entries(tmp_path), capsys.readouterr().out
    monkeypatch.setattr(UAP, "learner", lambda *_, **__: pytest.fail("trained again"))
    assert train("uap", "--epochs", "2", "--out", str(tmp_path / "a")) == 0
    assert entries(tmp_path) == before
    sha256 = Artefact.read(tmp_path / "a").sha256
    assert f"sha256 {sha256}" in said
    assert f"sha256 {sha256}" in capsys.readouterr().out


@pytest.mark.parametrize("option", [("--epochs", "3"), ("--batch", "1"), ("--iqa-dataset", "ladder"), ("--paper",)])
def test_options_are_fields_of_the_attack(option: tuple[str, ...], train: Run, tmp_path: Path) -> None:
    assert train("uap", "--epochs", "1") == 0
    assert train("uap", "--epochs", "1", *option) == 0
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("attack", ["cumulative-uap", "facpa"])
def test_the_other_trained_attacks_are_trained_alike(attack: str, train: Run, tmp_path: Path) -> None:
    assert train(attack, "--epochs", "1", "--out", str(tmp_path / "a")) == 0
    assert Artefact.read(tmp_path / "a").facts["attack"] == attack


def test_how_far_it_is_and_where_the_result_lies_is_told(
    train: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("uap", "--epochs", "2", "--out", str(tmp_path / "a"), metric="Robust") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"training of uap against planted-robust, images: 8/8, \d+:\d\d spent, 0:00 left", first)
    assert re.fullmatch(
        r"training of uap against planted-robust: sha256 [0-9a-f]{64}, entry [0-9a-f]{64} of .*", second
    )
    assert second.endswith(str(tmp_path / "store"))
    assert third == f"written: {tmp_path / 'a'}"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        ("ifgsm", (), "ifgsm is not trained"),
        ("uapp", (), "unknown attack 'uapp'"),
        ("uap", ("--epochs", "0"), "epochs >= 1"),
        ("uap", ("--iqa-dataset", "nowhere"), "unknown data set 'nowhere'"),
        ("uap", ("--iqa-defense", "jpg"), "unknown defense 'jpg'"),
    ],
)
def test_an_impossible_request_is_a_configuration_error(
    attack: str, options: tuple[str, ...], message: str, train: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(attack, *options) == ExitCode.CONFIGURATION
    assert message in capsys.readouterr().err


def test_the_metric_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "attack", "uap"])
    assert "--iqa-metric" in capsys.readouterr().err


# --- killed ---------------------------------------------------------------------------------------------------------

SLOW = """
import os, time
from iqa_robustness.metrics.planted import Robust

class Slow(Robust):
    def forward(self, images):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return super().forward(images)
"""
# The other process makes the same changes as the fixtures here.
COMMAND = """
import sys
from iqa_robustness.attacks import checkpoint
from iqa_robustness.cli import main
from iqa_robustness.datasets import leaves

checkpoint.SECONDS_BETWEEN, leaves.PICTURES, leaves._SHAPES = 0.0, 4, 30
sys.path.insert(0, ".")
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("attack", ["uap", pytest.param("facpa", marks=pytest.mark.slow)])
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"slow_{attack}"
    (tmp_path / f"{module}.py").write_text(SLOW, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)

    def command(store: str) -> list[str]:
        options = ("--iqa-metric", f"{module}:Slow", "--device", "cpu", "--epochs", "6", "--batch", "2")
        files = ("--iqa-store", str(tmp_path / store), "--out", str(tmp_path / f"{store}.safetensors"))
        return ["train", "attack", attack, *options, *files]

    killed = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command("store")], cwd=tmp_path, env={**os.environ, "PAUSE": "0.2"}
    )
    deadline = time.monotonic() + 120
    while not (left := list(tmp_path.glob("store/v1/unfinished/*/checkpoint.safetensors"))):
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left[0].is_file()
    for store in ("store", "whole"):
        assert main(command(store)) == 0
    assert entries(tmp_path) == [left[0].parent.name]
    assert (tmp_path / "store.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not list(tmp_path.glob("store/v1/unfinished/*"))
