"""The painted data set: bit-equal everywhere, like photographs where it matters, and unlike the bundled ones."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from iqa_robustness import datasets
from iqa_robustness.datasets import leaves
from iqa_robustness.datasets.leaves import Leaves
from iqa_robustness.datasets.pseudo_mos import pseudo_mos
from iqa_robustness.streams import seed_of

# Change only together with leaves.VERSION and a changelog line: every artefact trained on it rests on them.
DIGEST = "9d14d1014665b91042d076b4484bcebe18e5ef22ffbe4e97ea04dca297a74362"
FIRST_TEN = "e95594a2d61441fdc3e2b9e9bfd30913a5d3d343c891c4ab5f5aa5fc692a5a1b"


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    data = Leaves()
    return [data.pixels(index) for index in range(10)]


def test_its_pixels_are_frozen(pictures: list[np.ndarray]) -> None:
    assert hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest() == FIRST_TEN


def test_its_digest_is_frozen_and_paints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "_painted", lambda _: pytest.fail("the digest must not need the pictures"))
    assert datasets.load("leaves").digest == DIGEST
    monkeypatch.setattr(leaves, "VERSION", leaves.VERSION + 1)
    assert datasets.load("leaves").digest != DIGEST


def test_it_has_forty_contents_at_five_levels() -> None:
    data = datasets.load("leaves")
    assert len(data) == 40
    assert len({item.content for item in data.items}) == 40
    assert [item.mos for item in data.items] == [100.0, 75.0, 50.0, 25.0, 0.0] * 8
    assert data.mos_kind == "pseudo"
    assert not {item.content for item in data.items} & {item.content for item in datasets.load("mini").items}


def test_pictures_are_painted_anew_and_alike(pictures: list[np.ndarray]) -> None:
    again = Leaves().pixels(3)
    assert np.array_equal(again, pictures[3])
    assert again.dtype == np.uint8
    assert again.shape == (384, 512, 3)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("index", [1, 2, 3, 4, 6, 9])
def test_a_level_is_a_distortion_of_the_painted_picture(index: int, pictures: list[np.ndarray]) -> None:
    painted = leaves._painted(seed_of("leaves", str(index)) % 2**32)
    assert 0 < pseudo_mos(painted, pictures[index]) < 97


def test_within_a_kind_of_distortion_levels_get_worse() -> None:
    picture = leaves._painted(5)
    for kind in leaves._DISTORTIONS[:3]:
        scores = [pseudo_mos(picture, distortion.apply(picture, seed=1)) for distortion in kind]
        assert scores == sorted(scores, reverse=True)


def test_radii_have_the_density_of_dead_leaves() -> None:
    radii = np.array([leaves._radius(rank) for rank in range(1, 2**16)])
    assert (radii.min(), radii.max()) == (5, 198)
    # A density ~ 1/r³ has shares beyond r that fall as 1/r².
    assert np.mean(radii >= 12) == pytest.approx(1 / 4, abs=0.01)
    assert np.mean(radii >= 24) == pytest.approx(1 / 16, abs=0.01)


def test_it_has_what_photographs_have_edges_smooth_parts_and_falling_spectra(pictures: list[np.ndarray]) -> None:
    for picture in pictures[::5]:  # the undistorted ones
        luma = picture.mean(axis=2)
        gradient = np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1)) / 4
        assert np.median(gradient) < 10
        assert np.quantile(gradient, 0.98) > 25
        power = np.abs(np.fft.fft2(luma - luma.mean())) ** 2
        rows, columns = np.meshgrid(np.fft.fftfreq(384), np.fft.fftfreq(512), indexing="ij")
        frequency = np.hypot(rows, columns)
        bands = [power[(frequency > low) & (frequency <= 2 * low)].mean() for low in (0.01, 0.02, 0.04, 0.08, 0.16)]
        assert bands == sorted(bands, reverse=True)
        assert bands[0] > 30 * bands[-1]


def test_a_picture_of_fewer_shapes_is_not_taken_for_one_that_was_painted_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = leaves.Leaves().pixels(0)
    monkeypatch.setattr(leaves, "_SHAPES", 3)
    assert not np.array_equal(leaves.Leaves().pixels(0), whole)
    monkeypatch.undo()
    assert np.array_equal(leaves.Leaves().pixels(0), whole)
