"""Every purification on photographs against another library, and the parameter at which each leaves them alone.

Each defense's own file tests more; here they stand side by side, on the same four photographs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image, ImageOps
from skimage.filters import unsharp_mask
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from iqa_robustness import defenses
from iqa_robustness.defenses.base import Purification
from iqa_robustness.defenses.purification.color_quantization import ColorQuantization
from iqa_robustness.defenses.purification.crop import Crop
from iqa_robustness.defenses.purification.diffjpeg import DiffJPEG
from iqa_robustness.defenses.purification.diffpure import DiffPure
from iqa_robustness.defenses.purification.flip import Flip
from iqa_robustness.defenses.purification.gaussian_blur import GaussianBlur
from iqa_robustness.defenses.purification.jpeg import JPEG
from iqa_robustness.defenses.purification.median_blur import MedianBlur
from iqa_robustness.defenses.purification.network import NetworkPurification
from iqa_robustness.defenses.purification.random_noise import RandomNoise
from iqa_robustness.defenses.purification.resize import Resize
from iqa_robustness.defenses.purification.rotate import rotated
from iqa_robustness.defenses.purification.unsharp import Unsharp
from iqa_robustness.defenses.purification.upscale import Upscale, UpscaleBicubic, UpscaleNearest
from iqa_robustness.images import from_uint8, to_uint8
from iqa_robustness.streams import Streams

STARS = 3  # the place of the Hubble picture among the photographs


@pytest.fixture
def images(photographs: np.ndarray) -> Tensor:
    return from_uint8(photographs)


def streams(images: Tensor) -> Streams:
    return Streams("key", [str(number) for number in range(len(images))])


def by_plane(function: Callable[[np.ndarray], np.ndarray], images: Tensor) -> np.ndarray:
    """A reference for single planes, applied to all."""
    planes = [function(plane) for plane in images.flatten(0, 1).numpy()]
    return np.stack(planes).reshape(*images.shape[:2], *planes[0].shape)


def resized(size: tuple[int, int], method: Image.Resampling) -> Callable[[np.ndarray], np.ndarray]:
    return lambda plane: np.array(Image.fromarray(plane).resize(size[::-1], method))


def shrunk_and_enlarged(enlarging: Image.Resampling) -> Callable[[np.ndarray], np.ndarray]:
    def apply(plane: np.ndarray) -> np.ndarray:
        height, width = plane.shape
        return resized((height, width), enlarging)(
            resized((height // 2, width // 2), Image.Resampling.BILINEAR)(plane)
        ).clip(0, 1)

    return apply


BLURS = {
    # Borders mirrored without their outermost pixel; widths as OpenCV derives them from the window.
    "gaussian-blur": (
        GaussianBlur(kernel_size=5),
        lambda plane: scipy.ndimage.gaussian_filter(plane, 1.1, radius=2, mode="mirror"),
        2e-6,
    ),
    "median-blur": (
        MedianBlur(kernel_size=5),
        lambda plane: scipy.ndimage.median_filter(plane, size=5, mode="mirror"),
        0,
    ),
}
SIZES = {
    "resize": (Resize(scale=0.5), resized((48, 64), Image.Resampling.BILINEAR), 2e-6),
    "upscale": (Upscale(scale=0.5), shrunk_and_enlarged(Image.Resampling.BILINEAR), 2e-6),
    "upscale-nearest": (UpscaleNearest(scale=0.5), shrunk_and_enlarged(Image.Resampling.NEAREST), 2e-6),
}


@pytest.mark.parametrize("name", [*BLURS, *SIZES])
def test_filters_and_sizes_are_scipys_and_pillows(name: str, images: Tensor) -> None:
    defense, reference, tolerance = {**BLURS, **SIZES}[name]
    assert defense.name == name
    assert np.abs(defense.purify(images).numpy() - by_plane(reference, images)).max() <= tolerance


def test_bicubic_enlarging_is_torchs_which_is_opencvs(images: Tensor) -> None:
    """Pillow's bicubic kernel is a softer one (a = −0.5 for −0.75)."""
    small = torch.from_numpy(by_plane(resized((48, 64), Image.Resampling.BILINEAR), images))
    expected = torch.nn.functional.interpolate(small, size=(96, 128), mode="bicubic", align_corners=False)
    assert torch.allclose(UpscaleBicubic(scale=0.5).purify(images), expected.clamp(0, 1), atol=2e-6)


def test_unsharp_is_scikit_images_inside_the_frame(images: Tensor) -> None:
    expected = by_plane(lambda plane: unsharp_mask(plane, radius=1, amount=1), images)
    difference = np.abs(Unsharp(kernel_size=9).purify(images).numpy() - expected)
    assert difference[..., 4:-4, 4:-4].max() < 2e-6


@pytest.mark.parametrize("angle", [-33.0, 7.5])
def test_rotation_is_scipys(angle: float, images: Tensor) -> None:
    expected = scipy.ndimage.rotate(images.numpy(), angle, axes=(2, 3), reshape=False, order=1, mode="reflect")
    assert np.abs(rotated(images, torch.full((len(images),), angle)).numpy() - expected).max() < 5e-5


@pytest.mark.parametrize("quality", [10, 50, 100])
def test_jpeg_is_pillows_and_diffjpeg_close_to_it(
    quality: int, photographs: np.ndarray, images: Tensor, tmp_path: object
) -> None:
    decoded = to_uint8(JPEG(quality=quality).purify(images))
    for number, photograph in enumerate(photographs):
        Image.fromarray(photograph).save(f"{tmp_path}/one.jpg", quality=quality, subsampling="4:2:0")
        assert np.array_equal(decoded[number], np.array(Image.open(f"{tmp_path}/one.jpg")))
    smooth = DiffJPEG(quality=quality).purify(images).numpy()
    for number, decoded_one in enumerate(from_uint8(decoded).numpy()):
        assert peak_signal_noise_ratio(decoded_one, smooth[number], data_range=1) > 37


def test_flipping_is_pillows(photographs: np.ndarray, images: Tensor) -> None:
    mirrored = np.stack([np.array(ImageOps.mirror(Image.fromarray(one))) for one in photographs])
    assert np.array_equal(to_uint8(Flip().purify(images)), mirrored)


@pytest.mark.parametrize("levels", [2, 8, 16])
def test_quantization_is_numpys_nearest_level(levels: int, images: Tensor) -> None:
    pixels = images.numpy().astype(np.float64)
    expected = np.rint(pixels * (levels - 1)) / (levels - 1)
    assert np.abs(ColorQuantization(levels=levels).purify(images).numpy() - expected).max() < 1e-6


def test_a_crop_is_a_window_that_scikit_image_finds_again(images: Tensor) -> None:
    from skimage.util import view_as_windows

    cropped = Crop(size=48).purify(images, streams=streams(images)).numpy()
    for image, window in zip(images.numpy(), cropped, strict=True):
        matches = (view_as_windows(image, (3, 48, 48))[0] == window).all(axis=(2, 3, 4))
        assert matches.sum() == 1


def test_noise_leaves_a_psnr_that_scikit_image_expects_of_it(images: Tensor) -> None:
    """Far from black and white: clipping would take some of it away."""
    grey = 0.4 + 0.2 * images
    noisy = RandomNoise(sigma=0.05).purify(grey, streams=streams(images)).numpy()
    expected = -20 * np.log10(0.05)
    assert peak_signal_noise_ratio(grey.numpy(), noisy, data_range=1) == pytest.approx(expected, abs=0.1)


# --- parameters that leave an image alone ---------------------------------------------------------------------------

IDENTITIES: dict[str, Purification] = {
    "color-quantization": ColorQuantization(levels=256),
    "gaussian-blur": GaussianBlur(kernel_size=1),
    "median-blur": MedianBlur(kernel_size=1),
    "resize": Resize(scale=1),
    "unsharp": Unsharp(kernel_size=1),
    "upscale": Upscale(scale=1),
    "upscale-bicubic": UpscaleBicubic(scale=1),
    "upscale-nearest": UpscaleNearest(scale=1),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_kernel_1_scale_1_and_256_levels_change_nothing(name: str, images: Tensor) -> None:
    assert torch.allclose(IDENTITIES[name].purify(images), images, atol=1e-6)


@pytest.mark.parametrize("paper", [False, True])
def test_angle_0_changes_nothing(paper: bool, images: Tensor) -> None:
    assert torch.allclose(rotated(images, torch.zeros(len(images)), paper=paper), images, atol=3e-6)


def test_flipping_twice_changes_nothing(images: Tensor) -> None:
    assert torch.equal(Flip().purify(Flip().purify(images)), images)


def test_a_crop_of_the_whole_square_is_the_image(images: Tensor) -> None:
    square = images[..., :96]
    assert torch.equal(Crop(size=96).purify(square, streams=streams(images)), square)


def test_the_best_jpeg_keeps_38_decibels(photographs: np.ndarray, images: Tensor) -> None:
    """Of every photograph but that of coloured stars of a pixel each, whose colours 4:2:0 halves: there of its luma."""
    coded = to_uint8(JPEG(quality=100).purify(images))
    kept = [peak_signal_noise_ratio(*pair) for pair in zip(photographs, coded, strict=True)]
    assert min(kept[:STARS]) >= 38
    luma = [np.array(Image.fromarray(pixels[STARS]).convert("L")) for pixels in (photographs, coded)]
    assert peak_signal_noise_ratio(*luma) >= 38
    assert kept[STARS] == pytest.approx(37.7, abs=0.1)


def test_no_purification_without_a_network_is_missing_here() -> None:
    compared = {*BLURS, *SIZES, "upscale-bicubic", "unsharp", "rotate", "jpeg", "diffjpeg", "flip"}
    compared |= {"color-quantization", "crop", "random-noise"}
    registered = {entry.name for entry in defenses.list() if entry.kind == "purification"}
    # Networks, also those whose weights are bundled, have references of their own.
    networks = {name for name in registered if isinstance(defenses.create(name), NetworkPurification | DiffPure)}
    assert compared == registered - networks
