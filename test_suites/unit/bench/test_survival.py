"""Scores after encoders: which cells have them, whose they are, that they are computed once, and lossless ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iqa_robustness import datasets
from iqa_robustness.bench import survival
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.devices import Numerics
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.bench.sources import Encoded, stored_pixels
from iqa_robustness.bench.stages import stored_images
from iqa_robustness.bench.survival import ENCODERS, documents, encoded_scores, is_measured
from iqa_robustness.datasets.base import view
from iqa_robustness.encoders import Encoder, JpegFile, Lossless, Thumbnail
from iqa_robustness.gate.measurements import measure
from iqa_robustness.images import encode_png, from_uint8, read_pixels
from iqa_robustness.measures import survives_encode
from iqa_robustness.metrics.planted import Robust
from iqa_robustness.store import Store

NUMERICS = Numerics(device="cpu", micro_batch=2)
COLUMNS = ["clean_jpeg", "attacked_jpeg", "clean_resize", "attacked_resize"]
BASE: dict[str, Any] = {
    "metric": "iqa_robustness.metrics.planted:Robust",
    "defense": "none",
    "attack": "ifgsm",
    "strength": "medium",
    "scenario": "nonadaptive",
    "dataset": "mini",
    "images": 3,
    "size": (48, 64),
    "queries": 12,
    "draws": 2,
    "n0": 5,
    "n": 40,
}


def cell(**change: Any) -> Cell:
    if change.get("scenario") == "clean":
        change = {"attack": "", "strength": "", **change}
    return Cell(**{**BASE, **change})


@pytest.fixture
def runner(tmp_path: Path) -> LocalRunner:
    return LocalRunner(Store(tmp_path / "store"), NUMERICS)


def clean_images() -> torch.Tensor:
    return view(datasets.load("mini"), count=3, size=(48, 64)).batch(range(3))


def attacked_images(runner: LocalRunner, one: Cell) -> torch.Tensor:
    return torch.stack([from_uint8(pixels) for pixels in stored_pixels(runner.adversarial(one, runner.pair(one)))])


def encoded_stages(runner: LocalRunner) -> list[dict[str, Any]]:
    manifests = Path(runner.store.root).glob("entries/*/*/manifest.json")
    keys = [json.loads(path.read_text())["key"] for path in manifests]
    return [key["images"] for key in keys if key["stage"] == "scores" and "encoded" in key["images"]]


def test_a_record_holds_the_scores_of_what_comes_out_of_each_encoder(runner: LocalRunner) -> None:
    record = runner.record(cell())
    images = {"clean": clean_images(), "attacked": attacked_images(runner, cell())}
    for encoder in (JpegFile(quality=75), Thumbnail(scale=0.5)):
        for state, seen in images.items():
            expected = Robust()(encoder.encode(seen))
            np.testing.assert_allclose(record.scores(f"{state}_{encoder.name}"), expected, rtol=1e-5)
    assert record.meta["encoders"] == documents()
    assert record.meta["encoders"]["jpeg"]["fields"] == {"quality": 75}


@pytest.mark.parametrize(
    "change",
    [{"scenario": "clean"}, {"defense": "flip"}, {"defense": "jpeg", "scenario": "adaptive"}],
    ids=["clean", "defended", "adaptive"],
)
def test_other_cells_have_none_and_pay_for_none(runner: LocalRunner, change: dict[str, Any]) -> None:
    one = cell(**change)
    record = runner.record(one)
    assert record.images[COLUMNS].isna().all(axis=None)
    assert "encoders" not in record.meta
    assert "encoders" not in runner.key(one, runner.pair(one)).document
    assert encoded_stages(runner) == []


@pytest.mark.parametrize("kind", ["none", "purification", "certified", "training"])
@pytest.mark.parametrize("scenario", ["clean", "nonadaptive", "adaptive", "certified"])
def test_only_an_undefended_metric_that_is_attacked_has_them(scenario: str, kind: str) -> None:
    assert is_measured(scenario, kind) == (scenario == "nonadaptive" and kind == "none")


def test_clean_images_are_encoded_once_for_all_attacks(runner: LocalRunner) -> None:
    runner.record(cell())
    runner.record(cell(strength="strong"))
    runner.record(cell(attack="square"))
    stages = encoded_stages(runner)
    assert sum("clean" in stage["encoded"] for stage in stages) == len(ENCODERS)
    assert sum("entry" in stage["encoded"] for stage in stages) == 3 * len(ENCODERS)


def test_another_encoder_is_another_record(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    before = runner.key(cell(), runner.pair(cell()))
    monkeypatch.setattr(survival, "ENCODERS", (JpegFile(quality=80), Thumbnail(scale=0.5)))
    assert runner.key(cell(), runner.pair(cell())).digest != before.digest


def test_everything_survives_a_png_file(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversarial images have 8 bits: written, read back and scored, none of them has lost anything."""
    clean, attacked = clean_images(), attacked_images(runner, cell())
    for images in (clean, attacked):
        pixels = [read_pixels(encode_png(picture)) for picture in (images.movedim(1, -1) * 255).round().byte().numpy()]
        assert torch.equal(from_uint8(np.stack(pixels)), images)
    monkeypatch.setattr(survival, "ENCODERS", (Lossless(),))
    pair, source = runner.pair(cell()), runner.clean(cell())
    stored = stored_images(runner.adversarial(cell(), pair), source)
    found = encoded_scores(runner.stages, pair, stored, source, seed=0)
    record = runner.stages.scores(pair, source, source, seed=0)["scores"]
    np.testing.assert_array_equal(found["clean_lossless"], record)
    after = found["attacked_lossless"]
    assert survives_encode(record, after, found["clean_lossless"], after) == 1


def test_the_measure_is_made_of_these_columns(runner: LocalRunner) -> None:
    record = runner.record(cell(strength="strong"))
    names = ("clean", "attacked", "clean_resize", "attacked_resize")
    assert measure(record)["survives_resize"].value == survives_encode(*(record.scores(name) for name in names))


# --- the source -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [JpegFile(quality=40), Thumbnail(scale=0.3)], ids=repr)
def test_an_encoded_source_is_named_for_what_it_is_and_read_in_any_slices(
    encoder: Encoder, runner: LocalRunner
) -> None:
    clean = runner.clean(cell())
    source = Encoded(clean, encoder)
    assert source.ids == clean.ids
    assert source.document != Encoded(clean, JpegFile(quality=41)).document
    whole = source.batch(range(3))
    assert torch.equal(whole, encoder.encode(clean.batch(range(3))))
    assert torch.equal(torch.cat([source.batch(range(1)), source.batch(range(1, 3))]), whole)


# --- an attack on a share of the images -----------------------------------------------------------------------------


def test_a_record_says_who_entered_and_the_proof_is_about_everyone(runner: LocalRunner) -> None:
    one = cell(attack="single-entrant", images=20, strength="strong")
    record = runner.record(one)
    entrant = record.images["entrant"].to_numpy(bool)
    assert 0 < entrant.sum() < 20
    assert (record.scores("attacked")[entrant] > record.scores("clean")[entrant]).all()
    np.testing.assert_array_equal(record.scores("attacked")[~entrant], record.scores("clean")[~entrant])
    assert (record.scores("linf")[~entrant] == 0).all()
    assert len(record.meta["attack"]["trace"]) > 1
    assert min(record.meta["proof"]["gains"]) > 50
    assert runner.record(cell()).images["entrant"].all()
