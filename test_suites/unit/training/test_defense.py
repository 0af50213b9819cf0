"""`iqa-robustness train defense fcn`: a file that `fcn` reads, the same whatever happened on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import iqa_robustness
from iqa_robustness import attacks, datasets, defenses
from iqa_robustness.cli import main
from iqa_robustness.datasets import leaves
from iqa_robustness.defenses.purification.networks.fcn import FCN
from iqa_robustness.errors import ExitCode
from iqa_robustness.images import encode_png
from iqa_robustness.store import document_of

PLANTED = "iqa_robustness.metrics.planted:"
Train = Callable[..., int]


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "PICTURES", 3)
    monkeypatch.setattr(leaves, "_SHAPES", 30)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """The command with few epochs and a store of its own, writing `name`; returns its exit code."""

    def run(*arguments: str, defense: str = "fcn", name: str = "fcn.safetensors", metric: str = "Vulnerable") -> int:
        files = ("--iqa-store", str(tmp_path / "store"), "--output", str(tmp_path / name))
        where = ("--iqa-metric", f"{PLANTED}{metric}", "--device", "cpu")
        few = ("--epochs", "2", "--side", "32", "--iqa-strength", "strong")
        return main(["train", "defense", defense, *where, *files, *few, *arguments])

    return run


def header(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    found: dict[str, Any] = json.loads(facts["facts"])
    return found


# --- what it leaves ---------------------------------------------------------------------------------------------------


def test_the_file_is_read_by_the_defense(train: Train, tmp_path: Path) -> None:
    assert train("--loss", "mse+ssim", "--images", "2") == 0
    path = tmp_path / "fcn.safetensors"
    defense: Any = defenses.create("fcn", weights=str(path))
    images = datasets.load("leaves")[0].image[None, :, :64, :64]
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in FCN().state_dict()}
    network = FCN()
    network.load_state_dict(state)
    assert torch.equal(defense.purify(images), network(images).clamp(0, 1).detach())
    assert document_of(defense)["fields"]["weights"][0][0] == "fcn.safetensors"
    assert not list(tmp_path.glob("*.unfinished"))


def test_the_header_says_what_it_was_made_from(train: Train, tmp_path: Path) -> None:
    assert train("--iqa-attack", "ifgsm", "--loss", "ssim+mse", "--seed", "3", "--goal", "lower", "--batch", "1") == 0
    facts = header(tmp_path / "fcn.safetensors")
    assert (facts["defense"], facts["version"]) == ("fcn", 1)
    assert facts["package"] == iqa_robustness.__version__
    assert facts["attack"] == document_of(attacks.create("ifgsm", strength="strong"))
    assert facts["metric"]["name"] == f"{PLANTED}Vulnerable"
    assert facts["goal"] == "lower"
    assert facts["recipe"]["seed"] == 3
    assert facts["recipe"]["loss"] == "ssim+mse"
    assert facts["steps"] == 2 * 2
    data = datasets.load("leaves")
    assert facts["dataset"] == {
        "name": "leaves",
        "images": 3,
        "size": [192, 256],
        "digest": data.digest,
        "contents": sorted(item.content for item in data.items),
    }
    assert facts["pairs"]["backwards"] > 0
    assert set(facts["report"]) == {"epoch", "attacked", "purified", "purified clean"}


def test_a_folders_place_is_not_told(train: Train, tmp_path: Path, picture: Callable[..., np.ndarray]) -> None:
    (tmp_path / "own").mkdir()
    for seed in range(2):
        (tmp_path / "own" / f"{seed}.png").write_bytes(encode_png(picture(192, 256, seed=seed)))
    with (tmp_path / "own" / "mos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "mos"), ("0.png", 1), ("1.png", 2)])
    assert train("--attack", "ifgsm", "--iqa-dataset", f"folder:{tmp_path / 'own'}") == 0
    content = (tmp_path / "fcn.safetensors").read_bytes()
    assert str(tmp_path).encode() not in content
    assert header(tmp_path / "fcn.safetensors")["dataset"]["contents"] == ["0", "1"]


def test_equal_commands_write_equal_bytes_and_losses_share_the_attack(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--attack", "ifgsm") == train("--attack", "ifgsm", name="again.safetensors") == 0
    assert train("--attack", "ifgsm", "--loss", "ssim", name="other.safetensors") == 0
    first, again, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("fcn", "again", "other"))
    assert first == again
    assert first != other
    assert len(list((tmp_path / "store").glob("v1/entries/*/*"))) == 1
    told = re.findall(r"attack ifgsm on \S+, images: 3/3, \d+:\d\d spent, 0:00 left", capsys.readouterr().out)
    assert len(told) == 1


def test_how_far_it_is_is_told_with_the_time_left(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--attack", "ifgsm") == 0
    told = capsys.readouterr().out
    assert re.search(r"^steps: 2/2, \d+:\d\d spent, 0:00 left, loss 0\.\d+, best SSIM 0\.\d+$", told, re.MULTILINE)
    assert told.splitlines()[-1].startswith("written: ")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "mae"), "unknown term of the loss 'mae'"),
        (("--attack", "advfc"), "unknown attack 'advfc'"),
        (("--iqa-dataset", "mini"), "pictures of mini are among the training images"),
        (("--iqa-dataset", "ladder"), "pictures of mini are among the training images"),
        (("--images", "1", "--attack", "ifgsm"), "1 content is too few"),
        (("--epochs", "0"), "epochs >= 1"),
        (("--output", "fcn.pth"), "fcn.pth is no .safetensors file"),
    ],
)
def test_an_impossible_request_is_a_configuration_error(
    arguments: tuple[str, ...], message: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments) == ExitCode.CONFIGURATION
    assert message in capsys.readouterr().err


def test_a_loss_is_refused_before_the_attack(train: Train, tmp_path: Path) -> None:
    assert train("--loss", "mae") == ExitCode.CONFIGURATION
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("defense", "message"), [("jpeg", "jpeg is not trained on attacked images"), ("fnc", "unknown defense 'fnc'")]
)
def test_only_some_defenses_are_trained(
    defense: str, message: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(defense=defense) == ExitCode.CONFIGURATION
    assert message in capsys.readouterr().err


# --- killed -----------------------------------------------------------------------------------------------------------

# The other process makes the same changes as the fixtures here, and is slow enough to be killed.
COMMAND = """
import sys, time
from iqa_robustness.attacks import checkpoint
from iqa_robustness.cli import main
from iqa_robustness.datasets import leaves
from iqa_robustness.training.restoration_loss import RestorationLoss

checkpoint.SECONDS_BETWEEN, leaves.PICTURES, leaves._SHAPES = 0.0, 3, 30
call = RestorationLoss.__call__
RestorationLoss.__call__ = lambda *images: (time.sleep(0.2), call(*images))[1]
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iqa_robustness.attacks.checkpoint.SECONDS_BETWEEN", 0.0)
    options = ("--attack", "ifgsm", "--epochs", "4", "--batch", "1")
    assert train(*options, name="whole.safetensors") == 0
    given: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "main", lambda arguments: given.extend(arguments) or 0)
        train(*options)
    killed = subprocess.Popen([sys.executable, "-c", COMMAND, *given], cwd=tmp_path, env={**os.environ})
    unfinished, deadline = tmp_path / "fcn.safetensors.unfinished", time.monotonic() + 120
    while not unfinished.is_file():
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert unfinished.is_file()
    assert not (tmp_path / "fcn.safetensors").exists()
    assert train(*options) == 0
    assert (tmp_path / "fcn.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not unfinished.exists()
