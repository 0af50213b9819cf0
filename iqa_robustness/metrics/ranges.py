"""Score ranges with their evidence: published, nominal or measured, and the check of a declared range against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from iqa_robustness.errors import RangesFileError, RangeTooWideError, Where
from iqa_robustness.metrics.base import MetricSpec

SCHEMA = 1
# A declared range may be wider than the calibrated one by this factor: other images reach a little further.
WIDEST = 1.2

Kind = Literal["published", "nominal", "calibrated"]
Bound = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Calibration(_Strict):
    """How a range was measured by `iqa-robustness calibrate`; enough to measure it again.

    dataset: the data set's name, without a path.     digest: its SHA-256 (hex).     seed: of the noise.
    size: (height, width) in pixels, None for every image's own.     distortions: as `calibrate` names them.
    scores: how many the quantiles are of.     image_ids: of the images used.
    """

    dataset: str
    digest: str
    size: tuple[int, int] | None = None
    distortions: tuple[str, ...]
    scores: int
    seed: int
    image_ids: tuple[str, ...]


class RangeEntry(_Strict):
    """The range of one metric's scores.

    low, high: score units, low < high whatever the direction of the scale.
    kind: `calibrated` ranges are what a declared one is held to; `published` and `nominal` ones are for reading.
    version: of the metric (`MetricSpec.version`), or the publication's own.
    source: where the numbers come from.     images: how many images were scored, None where nobody says so.
    quantiles: of the scores that low and high are, None for nominal ends.
    """

    metric: str
    kind: Kind
    low: Bound
    high: Bound
    version: str
    source: str
    images: int | None = None
    quantiles: tuple[float, float] | None = None
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RangeEntry:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.kind == "calibrated" and (self.images is None or self.quantiles is None):
            raise ValueError("a calibrated range says how many images and which quantiles")
        return self

    @property
    def width(self) -> float:
        """From low to high, in score units."""
        return self.high - self.low


class _File(_Strict):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    ranges: tuple[RangeEntry, ...]

    @model_validator(mode="after")
    def _one_each(self) -> _File:
        seen = [(entry.metric, entry.kind) for entry in self.ranges]
        for pair in seen:
            if seen.count(pair) > 1:
                raise ValueError(f"{pair[0]} has more than one {pair[1]} range")
        return self


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """All entries of one or more files; for one metric and kind, the later file's."""

    entries: Mapping[tuple[str, Kind], RangeEntry]

    @classmethod
    def bundled(cls) -> Ranges:
        """Of the package's ranges.yaml."""
        text = (files("iqa_robustness.metrics") / "ranges.yaml").read_text(encoding="utf-8")
        return cls.parsed(text, name="iqa_robustness/metrics/ranges.yaml")

    @classmethod
    def load(cls, path: Path | None = None) -> Ranges:
        """The package's, and before them a file of the user's. Raises RangesFileError."""
        return cls.bundled() if path is None else cls.bundled().completed(cls.read(path))

    @classmethod
    def read(cls, path: Path) -> Ranges:
        """One file alone. Raises RangesFileError: unreadable, no YAML, or not of the documented form."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RangesFileError(
                f"cannot read the score ranges: {error}",
                where=Where(file=str(path)),
                fix="check --iqa-ranges; `iqa-robustness calibrate METRIC --out FILE` writes such a file",
            ) from error
        return cls.parsed(text, name=str(path))

    @classmethod
    def parsed(cls, text: str, *, name: str) -> Ranges:
        """From YAML; `name` is what messages call it. Raises RangesFileError."""
        try:
            found = _File.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise RangesFileError(f"the file is no YAML: {error}", where=Where(file=name)) from error
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()
            )
            raise RangesFileError(
                faults, where=Where(file=name), fix="see docs/ranges.md for the form of the file"
            ) from error
        return cls(entries={(entry.metric, entry.kind): entry for entry in found.ranges})

    def completed(self, later: Ranges) -> Ranges:
        """These entries, replaced or joined by those of `later`."""
        return Ranges(entries={**self.entries, **later.entries})

    def check(self, spec: MetricSpec, *, name: str = "") -> None:
        """Hold a metric's declared range to its calibrated one, if there is one of the metric's version.

        Args:
            spec: of the metric.
            name: the name it was created by, where that is not the spec's.

        Raises:
            RangeTooWideError: see `check_declared_range`.
        """
        for key in dict.fromkeys((name or spec.name, spec.name)):
            entry = self.entries.get((key, "calibrated"))
            # Another version has other scores: what was measured of it says nothing about this one.
            if entry is not None and entry.version == spec.version:
                check_declared_range(spec, entry)
                return

    def to_yaml(self) -> str:
        """The text of a file that holds these entries; `parsed` reads it back."""
        rows = [entry.model_dump(mode="json", exclude_none=True) for entry in self.entries.values()]
        text: str = yaml.safe_dump(
            {"schema": SCHEMA, "ranges": rows}, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
        )
        return text


def check_declared_range(spec: MetricSpec, calibrated: RangeEntry) -> None:
    """Refuse a declared range that is wider than `WIDEST` × the calibrated one: it would shrink every D_score.

    Raises:
        RangeTooWideError: with both widths.
    """
    if spec.diam > WIDEST * calibrated.width:
        low, high = spec.score_range
        raise RangeTooWideError(
            f"metric {spec.name!r} declares the score range ({low:g}, {high:g}), width {spec.diam:g}; "
            f"the calibrated one is ({calibrated.low:g}, {calibrated.high:g}), width {calibrated.width:g}: "
            f"{spec.diam / calibrated.width:.2f} times as wide, at most {WIDEST:g} is accepted",
            where=Where(metric=spec.name),
            fix=f"declare the range that scores use (source of the calibration: {calibrated.source}), or calibrate on "
            "images that are more like yours and give the file with --iqa-ranges",
        )
