"""The tensor contract: images are (N, 3, H, W) float32 RGB in [0, 1]; files hold 8 bits a channel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from iqa_robustness.errors import ImageContractError, ImageReadError, Where

# One float32 rounding step around 1; images that miss [0, 1] by less are clamped, by more refused.
RANGE_TOLERANCE = 1e-6


def checked_images(images: Tensor, *, what: str = "images") -> Tensor:
    """The images, clamped to [0, 1] against rounding noise.

    Args:
        images: (N, 3, H, W) float32, RGB, [0, 1] up to `RANGE_TOLERANCE`.
        what: how messages call them.

    Raises:
        ImageContractError: another shape, dtype or range, or a value that is not finite.
    """
    if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ImageContractError(
            f"{what}: expected shape (N, 3, H, W), got {tuple(images.shape)}",
            fix="stack RGB images along a first axis; a single image needs images[None]",
        )
    if images.dtype != torch.float32:
        raise ImageContractError(
            f"{what}: expected float32, got {images.dtype}", fix="convert: 8-bit images with .float() / 255"
        )
    if images.numel() == 0:
        return images
    low, high = (float(bound) for bound in torch.aminmax(images.detach()))
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise ImageContractError(
            f"{what}: expected finite values in [0, 1], got {low:.6g} to {high:.6g}",
            fix="divide 8-bit values by 255; look for NaN in what made the images",
        )
    return images if low >= 0 and high <= 1 else images.clamp(0, 1)


def quantize(images: Tensor) -> Tensor:
    """Round to the nearest k/255 (half to even), as an 8-bit file would; same shape and range."""
    return images.mul(255).round_().clamp_(0, 255).div_(255)


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two images in batches of one shape hold the same bits; in words of 64 where they are laid out so."""
    parts = (first, second)
    if all(part.is_contiguous() and not part.storage_offset() % 2 and not part.numel() % 2 for part in parts):
        first, second = first.view(-1).view(torch.int64), second.view(-1).view(torch.int64)
    return torch.equal(first, second)


def to_uint8(images: Tensor) -> np.ndarray:
    """(…, 3, H, W) float in [0, 1] to (…, H, W, 3) uint8, rounded to nearest."""
    levels = images.detach().mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
    return np.ascontiguousarray(levels.movedim(-3, -1).numpy())


def from_uint8(pixels: np.ndarray) -> Tensor:
    """(…, H, W, 3) uint8 to (…, 3, H, W) float32 on the grid k/255; inverse of `to_uint8`."""
    return torch.from_numpy(np.array(pixels, order="C")).movedim(-1, -3).to(torch.float32).div_(255).contiguous()


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as a PNG file; fast rather than small, and lossless."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def read_pixels(source: Path | bytes, *, name: str = "") -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB, upright by its EXIF orientation; of several frames the first.

    Grey and palette images become RGB. An alpha channel is left out where nothing is transparent. 16 bits of grey are
    rounded to 8; of 16 bits of RGB, Pillow keeps the upper 8.

    Raises:
        ImageReadError: the file is missing, truncated, no image, too large (Pillow's limit), transparent, or in another
            mode, such as CMYK, whose colours depend on a profile.
    """
    name = name or (str(source) if isinstance(source, Path) else "")
    where = Where(image=name)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            _refuse_mode(image, where)
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "I;16":
                # 65535 is white: division by 257 takes it to 255.
                return np.repeat(((np.array(upright, np.uint32) + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
            return np.array(upright.convert("RGB"))
    except ImageReadError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageReadError(
            f"cannot read the image: {error}", where=where, fix="replace the file, or take it out of the data set"
        ) from error


def _refuse_mode(image: Image.Image, where: Where) -> None:
    if image.mode in ("RGB", "L", "P", "1", "I;16"):
        return
    # What is not transparent looks the same without its alpha channel.
    seen_through = image.mode in ("RGBA", "LA") and image.getextrema()[-1] != (255, 255)
    if image.mode not in ("RGBA", "LA") or seen_through:
        raise ImageReadError(
            f"image mode {image.mode} is not read{' where it is transparent' if seen_through else ''}: "
            "RGB or grey with 8 bits a channel are",
            where=where,
            fix="convert the file to 8-bit RGB without alpha",
        )


def fit_pixels(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale to cover height × width and cut the centre.

    Same scale: cut only. Shrinking by a whole number: the rounded mean of each square of pixels, exactly.
    Otherwise Pillow's box average when shrinking and bicubic interpolation when growing, in fixed-point arithmetic.

    Args:
        pixels: (H, W, 3) uint8.
        height: rows wanted.
        width: columns wanted.
    """
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    factor = min(rows // height, columns // width)
    if factor >= 1 and (rows == factor * height or columns == factor * width):
        top, left = (rows - factor * height) // 2, (columns - factor * width) // 2
        cut = pixels[top : top + factor * height, left : left + factor * width]
        return cut if factor == 1 else np.array(Image.fromarray(np.ascontiguousarray(cut)).reduce(factor))
    scale = max(height / rows, width / columns)
    kept = (min(width / scale, columns), min(height / scale, rows))
    left_edge, top_edge = (columns - kept[0]) / 2, (rows - kept[1]) / 2
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    box = (left_edge, top_edge, left_edge + kept[0], top_edge + kept[1])
    return np.array(Image.fromarray(pixels).resize((width, height), resample, box=box))
