"""Single frames of uncompressed video: YUV4MPEG2 files (`.y4m`), 8 bits a sample."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from iqa_robustness.errors import DatasetError, ImageReadError, Where

# Columns and rows of a luma sample that share a chroma sample; (0, 0): there is none.
CHROMA = {
    "420": (2, 2),
    "420jpeg": (2, 2),
    "420mpeg2": (2, 2),
    "420paldv": (2, 2),
    "422": (2, 1),
    "444": (1, 1),
    "mono": (0, 0),
}
_MAGIC, _FRAME, _LONGEST_LINE = b"YUV4MPEG2", b"FRAME", 1024


class Y4m:
    """A file's frames by number, read and converted to RGB one at a time.

    Colours follow BT.601, in limited range unless the header says XCOLORRANGE=FULL; halved chroma is interpolated
    linearly.

    Args:
        path: the file.
        dataset: what errors are about.

    Raises:
        DatasetError: no such file, interlaced, more than 8 bits, another chroma format, or cut short.
    """

    def __init__(self, path: Path, *, dataset: str) -> None:
        self.path = path
        self._dataset = dataset
        try:
            with path.open("rb") as file:
                self._read_header(file)
                self._offsets = self._frames(file)
        except OSError as error:
            raise self._fault(f"cannot read the video: {error}", "check the path") from error
        if not self._offsets:
            raise self._fault("the video has no frame", "write it anew")

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._offsets)

    def pixels(self, number: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB of a frame, counted from 0. Raises ImageReadError."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offsets[number])
                data = file.read(self._size)
        except OSError as error:
            where = Where(dataset=self._dataset, file=str(self.path))
            raise ImageReadError(f"cannot read frame {number}: {error}", where=where, fix="restore it") from error
        if len(data) != self._size:
            where = Where(dataset=self._dataset, file=str(self.path))
            raise ImageReadError(f"frame {number} is cut short", where=where, fix="restore the file")
        planes, start = [], 0
        for rows, columns in self._planes:
            planes.append(np.frombuffer(data, np.uint8, rows * columns, start).reshape(rows, columns))
            start += rows * columns
        return self._rgb(planes)

    @cached_property
    def _planes(self) -> list[tuple[int, int]]:
        across, down = CHROMA[self._chroma]
        luma = (self._height, self._width)
        return [luma] if not across else [luma, *[(-(-self._height // down), -(-self._width // across))] * 2]

    @cached_property
    def _size(self) -> int:
        return sum(rows * columns for rows, columns in self._planes)

    def _rgb(self, planes: list[np.ndarray]) -> np.ndarray:
        size = (self._width, self._height)
        luma, *chroma = (
            np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR), np.float64) for plane in planes
        )
        black, white, reach = (0.0, 255.0, 255.0) if self._full else (16.0, 219.0, 224.0)
        grey = (luma - black) * (255 / white)
        if not chroma:
            colours = [grey] * 3
        else:
            blue, red = ((plane - 128) * (255 / reach) for plane in chroma)
            # From the weights 0.299, 0.587, 0.114 of R, G and B in luma.
            green = grey - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587
            colours = [grey + 1.402 * red, green, grey + 1.772 * blue]
        return np.stack(colours, axis=-1).round().clip(0, 255).astype(np.uint8)

    def _read_header(self, file: IO[bytes]) -> None:
        line = file.readline(_LONGEST_LINE)
        magic, *fields = line.rstrip(b"\n").split(b" ")
        if magic != _MAGIC or not line.endswith(b"\n"):
            raise self._fault("it is no YUV4MPEG2 file", "convert it: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.y4m")
        # ASCII, as its inventors had it; what is not is no tag of ours.
        tags = [field.decode("ascii", "replace") for field in fields if field]
        known = {tag[0]: tag[1:] for tag in tags if tag[0] != "X"}
        if not all(known.get(side, "").isdecimal() and int(known[side]) for side in "WH"):
            raise self._fault("the header has no width and height", "write the file anew")
        self._width, self._height = int(known["W"]), int(known["H"])
        self._chroma, self._full = known.get("C", "420"), "XCOLORRANGE=FULL" in tags
        if self._chroma not in CHROMA:
            raise self._fault(
                f"the chroma format {self._chroma} is not read; {', '.join(CHROMA)} are",
                "convert it: ffmpeg -i INPUT.y4m -pix_fmt yuv420p OUTPUT.y4m",
            )
        if known.get("I", "p") not in ("p", "?"):
            raise self._fault("the video is interlaced", "convert it: ffmpeg -i INPUT.y4m -vf yadif OUTPUT.y4m")
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and self._width * self._height > limit:
            raise self._fault(
                f"frames of {self._width} x {self._height} pixels are larger than Pillow's limit of {limit}",
                "scale the video down",
            )

    def _frames(self, file: IO[bytes]) -> list[int]:
        found: list[int] = []
        end = self.path.stat().st_size
        while line := file.readline(_LONGEST_LINE):
            if not line.startswith(_FRAME) or not line.endswith(b"\n"):
                raise self._fault(f"what follows frame {len(found)} is no frame", "write the file anew")
            found.append(file.tell())
            if found[-1] + self._size > end:
                raise self._fault(f"it is cut short in frame {len(found)}", "restore the file, or leave the frame out")
            file.seek(self._size, 1)
        return found

    def _fault(self, what: str, fix: str) -> DatasetError:
        return DatasetError(what, where=Where(dataset=self._dataset, file=str(self.path)), fix=fix)
