"""Tables of strengths: what weak, medium and strong mean for an attack on a metric, with the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from iqa_robustness.attacks import STRENGTHS
from iqa_robustness.errors import ConfigurationError, Where

SCHEMA = 1
ANY_METRIC = "*"


class StrengthRow(BaseModel):
    """What the three strengths of an attack on a metric are.

    metric: its name, or `*` for all that have no row of their own.
    weak, medium, strong: fields of the attack.
    measured: by strength, what was measured there: `linf` (units of 1), `l0` (pixels), `psnr` (dB), `ssim`, `gain`
        (share of the range); means over images.
    source: where the numbers come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attack: str
    metric: str = ANY_METRIC
    weak: dict[str, Any]
    medium: dict[str, Any]
    strong: dict[str, Any]
    measured: dict[str, dict[str, float]] = {}
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class StrengthTable:
    """Rows by attack and metric."""

    rows: Mapping[tuple[str, str], StrengthRow] = field(default_factory=dict)

    def fields(self, attack: str, metric: str, strength: str) -> dict[str, Any] | None:
        """The fields of a strength on a metric, or on all of them; None where the table says nothing."""
        row = self.rows.get((attack, metric)) or self.rows.get((attack, ANY_METRIC))
        return dict(getattr(row, strength)) if row is not None else None

    def completed(self, row: StrengthRow) -> StrengthTable:
        """The table with a row added, or in the place of the one it had."""
        return StrengthTable(rows={**self.rows, (row.attack, row.metric): row})

    def to_yaml(self) -> str:
        """As `read` takes it."""
        rows = [row.model_dump(exclude_defaults=True) for _, row in sorted(self.rows.items())]
        return yaml.safe_dump({"schema": SCHEMA, "strengths": rows}, sort_keys=False, width=118, allow_unicode=True)

    @classmethod
    def read(cls, path: Path) -> StrengthTable:
        """From a YAML file. Raises ConfigurationError, which names the file and the row."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the table of strengths cannot be read: {error}",
                where=Where(file=str(path)),
                fix="give a file that `iqa-robustness align` wrote",
            ) from error
        return cls.parsed(text, where=Where(file=str(path)))

    @classmethod
    def parsed(cls, text: str, *, where: Where) -> StrengthTable:
        """From YAML text. Raises ConfigurationError."""
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"the table of strengths is no YAML: {error}", where=where) from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ConfigurationError(
                f"the table of strengths does not say schema: {SCHEMA}", where=where, fix=f"begin with schema: {SCHEMA}"
            )
        rows: dict[tuple[str, str], StrengthRow] = {}
        for number, entry in enumerate(document.get("strengths") or [], start=1):
            try:
                row = StrengthRow.model_validate(entry)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise ConfigurationError(
                    f"row {number} of the table of strengths: {place}: {first['msg']}",
                    where=where,
                    fix=f"a row has attack, metric, {', '.join(STRENGTHS)}, measured and source",
                ) from error
            if (row.attack, row.metric) in rows:
                raise ConfigurationError(
                    f"row {number} of the table of strengths: {row.attack} on {row.metric} stands there twice",
                    where=where,
                    fix="take one of them out",
                )
            rows[row.attack, row.metric] = row
        return cls(rows=rows)

    @classmethod
    def published(cls) -> StrengthTable:
        """The benchmark's own: aligned by its authors at the visibility that each row states.

        Attacks without a projection there have the l∞ budget that they were aligned to; stadv, whose published step
        moves nothing, has no row.

        Source: `picked_presets_v1.csv` of msu-video-group/adversarial-defenses-for-iqa (Guardians of Image Quality,
        Fig. 2). There the categories of parsimonious, patch-rs and cadv run from strong to weak; here weak is the least
        visible of every attack.
        """
        text = (files("iqa_robustness.attacks") / "published_strengths.yaml").read_text(encoding="utf-8")
        return cls.parsed(text, where=Where(file="published_strengths.yaml"))
