"""Frames of video clips, for metrics that are used frame by frame: `frames:PATH`."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from iqa_robustness.datasets.base import Dataset, Item, MosKind
from iqa_robustness.datasets.files import IMAGE_SUFFIXES, inside
from iqa_robustness.datasets.folder import FILE_COLUMNS, MOS_COLUMNS
from iqa_robustness.datasets.tables import read_table
from iqa_robustness.datasets.y4m import Y4m
from iqa_robustness.errors import ConfigurationError, DatasetError, ImageReadError, Where
from iqa_robustness.images import read_pixels

CONTAINERS = frozenset(
    {".264", ".265", ".avi", ".flv", ".h264", ".hevc", ".ivf", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
    | {".wmv", ".yuv"}
)
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True, kw_only=True)
class Frame(Item):
    """A frame: `read` decodes it; `file` and `number` say where it lies (a file of one frame: number 0)."""

    file: Path
    number: int
    read: Callable[[], np.ndarray]


class Frames(Dataset):
    """Video clips frame by frame; a clip is one content, so intervals take its frames as one.

    PATH is a `.y4m` file, a folder of numbered frames (image files; the last number of a name counts), or a folder of
    such files and folders, a clip each. An id is `clip/number`. Scores: `PATH/mos.csv` with the columns `file` (the
    clip) and `mos` gives every frame its clip's; without it there are none.

    Args:
        path: the file or folder.
        every: only every n-th frame of each clip, from the first on.

    Raises:
        DatasetError: another container (it is named), a frame without a number, or two of one number.
        ConfigurationError: `every` is no number.
    """

    threaded = True

    def __init__(self, path: str, *, every: str = "1") -> None:
        if not every.isdecimal() or not int(every):
            raise ConfigurationError(f"every={every!r} is no whole number above 0", where=Where(dataset="frames"))
        self.name = f"frames:{path}" + ("" if int(every) == 1 else f"@every={every}")
        self.root = Path(path).expanduser()
        clips = self._clips()
        scores = self._scores([name for name, _ in clips])
        self.mos_kind: MosKind = "human" if scores else "none"
        self.frames = tuple(
            frame
            for name, place in clips
            for frame in self._frames(name, place, scores.get(name, math.nan))[:: int(every)]
        )

    @property
    def items(self) -> Sequence[Item]:
        """Clips by name, frames by number."""
        return self.frames

    @property
    def origin(self) -> str:
        """The folder or file."""
        return str(self.root.resolve())

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over ids, scores, contents, files' SHA-256 and numbers in them."""
        digests = {file: self._sha256(file) for file in dict.fromkeys(frame.file for frame in self.frames)}
        rows = [(one.id, one.mos, one.content, digests[one.file], one.number) for one in self.frames]
        return hashlib.sha256(json.dumps(["frames", rows]).encode()).hexdigest()

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of one frame, decoded now. Raises ImageReadError."""
        return self.frames[index].read()

    def _clips(self) -> list[tuple[str, Path]]:
        if not self.root.exists():
            raise self._fault(f"there is no {str(self.root)!r}", "check the path after frames:", self.root)
        if self.root.is_file():
            return [(self.root.stem, self._readable(self.root))]
        inner = sorted(file for file in self.root.iterdir() if not file.name.startswith("."))
        pictures = [file for file in inner if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
        clips = [
            (file.stem if file.is_file() else file.name, file if file.is_dir() else self._readable(file))
            for file in inner
            if file.is_dir() or file.suffix.lower() in {".y4m", *CONTAINERS}
        ]
        if pictures and clips:
            raise self._fault("frames and clips lie side by side", "give the frames a folder of their own", self.root)
        names = [name for name, _ in clips]
        if len({*names}) < len(names):
            raise self._fault("a folder and a file are called alike", "rename one of them", self.root)
        if not (pictures or clips):
            raise self._fault("there is no frame and no clip", "put .y4m files or folders of frames there", self.root)
        return clips or [(self.root.resolve().name, self.root)]

    def _readable(self, file: Path) -> Path:
        if file.suffix.lower() != ".y4m":
            raise self._fault(
                f"{file.suffix or file.name} files are not read, .y4m files and numbered pictures are",
                f"convert it: ffmpeg -i {file.name} -pix_fmt yuv420p {file.stem}.y4m",
                file,
            )
        return inside(file, self.root, dataset=self.name) if self.root.is_dir() else file

    def _frames(self, clip: str, place: Path, mos: float) -> list[Frame]:
        if place.is_file():
            video = Y4m(place, dataset=self.name)
            return [
                self._frame(clip, number, place, number, mos, partial(video.pixels, number))
                for number in range(len(video))
            ]
        files = [file for file in sorted(place.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
        numbered: dict[int, Path] = {}
        for file in files:
            found = _NUMBER.search(file.stem)
            if found is None:
                raise self._fault(f"{file.name} has no number", "number the frames: 0001.png, 0002.png …", file)
            if int(found[1]) in numbered:
                raise self._fault(f"{numbered[int(found[1])].name} has the number of {file.name}", "rename one", file)
            numbered[int(found[1])] = inside(file, self.root, dataset=self.name)
        if not numbered:
            raise self._fault(f"the clip {clip!r} has no frame", "put numbered pictures there, or take it out", place)
        return [
            self._frame(clip, number, file, 0, mos, partial(read_pixels, file, name=_id(clip, number)))
            for number, file in sorted(numbered.items())
        ]

    def _frame(
        self, clip: str, shown: int, file: Path, number: int, mos: float, decode: Callable[[], np.ndarray]
    ) -> Frame:
        name = _id(clip, shown)

        def read() -> np.ndarray:
            try:
                return decode()
            except ImageReadError as error:
                raise error.at(dataset=self.name, image=name, file=str(file)) from error.__cause__

        return Frame(id=name, mos=mos, content=clip, file=file, number=number, read=read)

    def _scores(self, clips: Sequence[str]) -> dict[str, float]:
        file = self.root / "mos.csv"
        if not file.is_file():
            return {}
        table = read_table(file, dataset=self.name)
        found: dict[str, float] = {}
        for line, row in table:
            listed = table.cell(row, FILE_COLUMNS, line)
            name = listed if listed in clips else Path(listed).stem
            if name not in clips or name in found:
                what = f"there is no clip {listed!r}" if name not in clips else f"duplicate row: clip {name!r}"
                raise table.fault(what, "list every clip once", line)
            found[name] = table.number(table.cell(row, MOS_COLUMNS, line), line)
        missing = [name for name in clips if name not in found]
        if missing:
            raise table.fault(f"the clip {missing[0]!r} has no row", "score every clip, or take the table away")
        return found

    def _sha256(self, file: Path) -> str:
        try:
            with file.open("rb") as opened:
                return hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            where = Where(dataset=self.name, file=str(file))
            raise ImageReadError(f"cannot read the frame: {error}", where=where, fix="put it back") from error

    def _fault(self, what: str, fix: str, file: Path) -> DatasetError:
        return DatasetError(what, where=Where(dataset=self.name, file=str(file)), fix=fix)


def _id(clip: str, number: int) -> str:
    return f"{clip}/{number:06d}"
