"""KonIQ-10k: 10,073 photographs from the wild with human scores: `koniq:PATH`."""

from __future__ import annotations

from pathlib import Path

from iqa_robustness.datasets.files import FileItem, ImageFiles, existing_folder, inside
from iqa_robustness.datasets.tables import Table, read_table
from iqa_robustness.errors import ConfigurationError, DatasetError, Where

RELEASES = ("512x384", "1024x768")
PARTS = ("training", "validation", "test")
SPLIT = "koniq10k_distributions_sets.csv"
BOTH_SCALES = "koniq10k_scores_and_distributions.csv"
SCORES = "koniq10k_scores.csv"
# On the scale 1 to 5 nothing lies above 5; the z-scored one reaches from about 4 to 88.
_LARGEST_OF_FIVE = 5.0


class Koniq(ImageFiles):
    """KonIQ-10k in one of its releases, with one of its scores, and its official split.

    Layout: PATH/512x384/*.jpg (what the published benchmark attacks) or PATH/1024x768/*.jpg, and beside them any of
    `koniq10k_distributions_sets.csv` (MOS 0 to 100, and `set`: 7,058 training, 1,000 validation, 2,015 test images),
    `koniq10k_scores_and_distributions.csv` (MOS 1 to 5, MOS_zscore 0 to 100), `koniq10k_scores.csv` (MOS on either).
    Every image is its own content. An id is the file's name without its extension.

    Args:
        path: the folder.
        part: `test` (metrics such as koncept, maniqa and linearity were trained on the rest), `training`, `validation`,
            or `all`, which needs no split.
        release: `512x384` or `1024x768`; empty for the first of these that is there.
        scale: `100` or `5`, the upper end of the scores; empty for 100 where a file has it.

    Raises:
        DatasetError: a file is missing, or a table has a row twice or lacks one.
        ConfigurationError: an argument is none of these.

    Source: Hosu et al., IEEE TIP 2020; database.mmsp-kn.de; the split is in `metadata/` of github.com/subpic/koniq.
    """

    def __init__(self, path: str, *, part: str = "test", release: str = "", scale: str = "") -> None:
        for option, value, choices in (
            ("part", part, (*PARTS, "all")),
            ("release", release, ("", *RELEASES)),
            ("scale", scale, ("", "5", "100")),
        ):
            if value not in choices:
                raise ConfigurationError(
                    f"koniq has no {option} {value!r}", fix=f"write one of {', '.join(c for c in choices if c)}"
                )
        # Of choices, the name has those that were made: the same words, the same name.
        made = (("part", part if part != "test" else ""), ("release", release), ("scale", scale))
        self.name = f"koniq:{path}" + "".join(f"@{option}={value}" for option, value in made if value)
        self.root = existing_folder(path, prefix="koniq", dataset=self.name)
        folder = self._folder(release)
        table, column, self.scale = self._scores(scale)
        parts = self._parts(required=part != "all")
        scores = _once(table, column)
        rows = []
        for name, (line, text) in scores.items():
            if parts and name not in parts:
                raise table.fault(f"{name!r} is in no part: {SPLIT} has no such row", f"complete {SPLIT}", line)
            if part in ("all", parts.get(name)):
                rows.append(self._row(folder / name, table, text, line, parts.get(name, "")))
        missing = [name for name in parts if name not in scores and part in ("all", parts[name])]
        if missing:
            raise table.fault(
                f"{len(missing)} images of {SPLIT} have no row here, for one {missing[0]!r}", "complete the table"
            )
        super().__init__(name=self.name, root=self.root, rows=rows, mos_kind="human")

    def _row(self, file: Path, table: Table, text: str, line: int, part: str) -> FileItem:
        if not file.is_file():
            raise table.fault(
                f"there is no file {file.relative_to(self.root).as_posix()!r}",
                "unpack the whole release, or choose another with @release=…",
                line,
            )
        inside(file, self.root, dataset=self.name, table=table.file, line=line)
        mos = table.number(text, line)
        if not 0 <= mos <= self.scale:
            raise table.fault(f"the score {mos:g} is not on a scale to {self.scale:g}", "look for mixed scales", line)
        return FileItem(id=file.stem, mos=mos, content=file.stem, file=file, part=part)

    def _folder(self, release: str) -> Path:
        choices = [release] if release else [*RELEASES]
        found = next((self.root / name for name in choices if (self.root / name).is_dir()), None)
        if found is None:
            raise DatasetError(
                f"there is no folder {' or '.join(choices)} in {str(self.root)!r}",
                where=Where(dataset=self.name),
                fix="unpack koniq10k_512x384.zip or koniq10k_1024x768.zip there",
            )
        return found

    def _scores(self, scale: str) -> tuple[Table, str, float]:
        """The table, its column and the upper end of the scale."""
        for file, column, upper in (
            (SPLIT, "MOS", "100"),
            (BOTH_SCALES, "MOS_zscore", "100"),
            (BOTH_SCALES, "MOS", "5"),
            (SCORES, "MOS", ""),
        ):
            if not (self.root / file).is_file() or scale not in ("", upper or scale):
                continue
            table = read_table(self.root / file, dataset=self.name)
            if column not in table.columns and column == "MOS_zscore":
                continue
            table.require("image_name")
            table.require(column)
            # The releases differ: the table tells its scale by its largest score.
            upper = upper or ("100" if max(_numbers(table, column), default=0.0) > _LARGEST_OF_FIVE else "5")
            if scale in ("", upper):
                return table, column, float(upper)
        wanted = f" on the scale to {scale}" if scale else ""
        raise DatasetError(
            f"there are no scores{wanted} in {str(self.root)!r}",
            where=Where(dataset=self.name),
            fix=f"put {BOTH_SCALES} (it has both scales), {SPLIT} or {SCORES} there",
        )

    def _parts(self, *, required: bool) -> dict[str, str]:
        """The part of each image; none where the split is not there and not required."""
        file = self.root / SPLIT
        if not file.is_file():
            if not required:
                return {}
            raise DatasetError(
                f"the official split is not there: no {SPLIT}",
                where=Where(dataset=self.name, file=str(file)),
                fix="take it from metadata/ of github.com/subpic/koniq, or write @part=all for every image: "
                "metrics trained on KonIQ-10k have then seen most of them",
            )
        table = read_table(file, dataset=self.name)
        table.require("image_name")
        table.require("set")
        rows = _once(table, "set")
        for line, part in rows.values():
            if part not in PARTS:
                raise table.fault(f"the set {part!r} is none of {', '.join(PARTS)}", "restore the published file", line)
        return {name: part for name, (_, part) in rows.items()}


def _numbers(table: Table, column: str) -> list[float]:
    return [table.number(table.cell(row, (column,), line), line) for line, row in table]


def _once(table: Table, column: str) -> dict[str, tuple[int, str]]:
    """Line and cell of each image. Raises DatasetError for one that is listed twice."""
    rows: dict[str, tuple[int, str]] = {}
    for line, row in table:
        name = table.cell(row, ("image_name",), line)
        if "/" in name or "\\" in name:
            raise table.fault(f"{name!r} is no file name", "restore the published file", line)
        if name in rows:
            raise table.fault(f"duplicate row: {name!r} is line {rows[name][0]} again", "keep one of the two", line)
        rows[name] = line, table.cell(row, (column,), line)
    return rows
