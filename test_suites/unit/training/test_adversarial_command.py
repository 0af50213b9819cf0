"""`iqa-robustness train metric`: what it writes, that a killed one ends alike, and that processes share the work."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from iqa_robustness import defenses, metrics
from iqa_robustness.cli import main
from iqa_robustness.errors import ExitCode
from iqa_robustness.images import encode_png, from_uint8
from iqa_robustness.metrics.trained import read_trained

pytestmark = pytest.mark.usefixtures("torchvision")

Picture = Callable[..., np.ndarray]
# Runs the command line with a checkpoint after every step.
EAGER = (
    "import sys; import iqa_robustness.attacks.checkpoint as c; c.SECONDS_BETWEEN = 0.0; "
    "from iqa_robustness.cli import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, picture: Picture) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(30):
        (folder / f"{number:02d}.png").write_bytes(encode_png(picture(40, 40, seed=number)))
    return folder


@pytest.fixture(scope="module")
def command(photographs: Path) -> Callable[..., list[str]]:
    def make(output: Path, *more: str, defense: str = "at-ssim-4", epochs: int = 2) -> list[str]:
        return [
            *("train", "metric", "--iqa-metric", "compact", "--iqa-defense", defense),
            *("--iqa-dataset", f"photographs:{photographs}", "--labels", "own", "--device", "cpu", "--threads", "1"),
            *("--side", "32", "--batch", "8", "--epochs", str(epochs), "--feature-share", "1", "--output", str(output)),
            *more,
        ]

    return make


@pytest.fixture(scope="module")
def written(command: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("written") / "at-ssim-4-compact.safetensors"
    assert main(command(output, "--half")) == 0
    return output


def facts_in(path: Path) -> dict[str, dict[str, object]]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, dict[str, object]] = json.loads(file.metadata()["facts"])
    return found


def test_the_file_says_how_it_was_made(written: Path) -> None:
    found = facts_in(written)
    training = found["training"]
    assert found["metric"] == "compact as at-ssim-4"
    assert training["recipe"] == training["recipe"] | {
        "penalty": "ssim",
        "epsilon": 4 / 255,
        "labels": "own",
        "seed": 0,
    }
    assert training["started from"] == [[f.name, f.sha256] for f in metrics.create("compact").spec.weights]
    assert training["data"] == training["data"] | {"names": ["photographs"], "images": 30, "contents": 30}
    assert training["range before"] == [*metrics.create("compact").spec.score_range]
    assert {"commit", "package", "slope", "offset", "report", "steps", "penalty files"} <= set(training)
    assert "photographs:" not in written.with_suffix(".md").read_text()


def test_half_precision_takes_half_the_room(written: Path) -> None:
    tensors = read_trained(written, metric="compact as at-ssim-4").tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert written.stat().st_size < 330_000


def test_the_card_and_the_log_lie_beside(written: Path) -> None:
    card = written.with_suffix(".md").read_text()
    assert card.startswith("# compact as at-ssim-4")
    for name in ("seed: 0", "digest: ", "score_range: ", "commit: "):
        assert name in card
    with written.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"epoch", "step", "loss", "clean", "attacked"}
    assert not [*written.parent.glob("*.unfinished")]


def test_the_defense_reads_it(written: Path, picture: Picture) -> None:
    metric = metrics.create("compact")
    guarded = defenses.create("at-ssim-4", weights=str(written)).protect(metric)
    images = from_uint8(np.stack([picture(64, 64, seed=seed) for seed in range(4)]))
    before, after = metric(images), guarded(images)
    assert not torch.equal(before, after)
    assert float((before - after).abs().max()) < metric.spec.diam


def test_a_killed_training_ends_with_the_same_bytes(
    written: Path, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    output = tmp_path / "killed.safetensors"
    unfinished = tmp_path / "killed.safetensors.unfinished"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", EAGER, *command(output, "--half")], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not unfinished.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not output.exists()
    assert main(command(output, "--half")) == 0
    assert output.read_bytes() == written.read_bytes()


@pytest.mark.slow
def test_two_processes_of_torchs_launcher_share_an_epoch(
    written: Path, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    output = tmp_path / "two.safetensors"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "iqa_robustness", *command(output, epochs=1)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("written: ") == 1
    # Of 21 photographs each process has ten: one batch of eight, where a single process has two.
    assert facts_in(output)["training"]["steps"] == 1
    assert facts_in(written)["training"]["steps"] == 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--iqa-defense", "jpeg"), "no adversarial training"),
        (("--iqa-defense", "at"), "give --penalty and --epsilon"),
        (("--penalty", "none"), "says which penalty"),
        (("--inner-attack", "fgsm"), "says which penalty"),
        (("--output", "weights.pt"), "no .safetensors"),
        (("--iqa-metric", "psnr"), "CapabilityError"),
        (("--labels", "mos"), "no opinion scores"),
        (("--iqa-dataset", "mini"), "mini"),
        (("--iqa-defense", "at-lpips-2x"), "at-lpips-2"),
    ],
)
def test_what_cannot_work_is_refused(
    command: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    said: str,
) -> None:
    assert main(command(tmp_path / "no.safetensors", *more)) == ExitCode.CONFIGURATION
    assert said in capsys.readouterr().err


def test_ablations_are_variants_of_at(command: Callable[..., list[str]], tmp_path: Path) -> None:
    output = tmp_path / "free.safetensors"
    ablation = ("--penalty", "none", "--epsilon", "2/255", "--inner-attack", "free", "--adversary", "raise")
    assert main(command(output, *ablation, defense="at", epochs=1)) == 0
    recipe = facts_in(output)["training"]["recipe"]
    assert recipe == recipe | {"penalty": "none", "epsilon": 2 / 255, "attack": "free", "adversary": "raise"}  # type: ignore[operator]
    assert defenses.create("at", weights=str(output)).protect(metrics.create("compact"))
