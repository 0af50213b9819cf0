"""The record of a cell: one row an image, the draws behind stochastic scores, and what they were made of."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from iqa_robustness.errors import ConfigurationError, CorruptEntryError, Where

SCHEMA_VERSION = 3
"""Raised when columns or their meaning change; a record of another version is refused, never reinterpreted."""

_SCORE, _COUNT, _FLAG, _TEXT = pa.float64(), pa.int64(), pa.bool_(), pa.string()

IMAGE_COLUMNS = {
    "id": (_TEXT, "sample id in its data set"),
    "content": (_TEXT, "source scene; images of one content are not independent"),
    "mos": (_SCORE, "mean opinion score, on the data set's scale; human or pseudo as meta says"),
    "clean": (_SCORE, "f(x): the undefended metric on the clean image, score units"),
    "attacked": (_SCORE, "f(x'): the undefended metric on the adversarial image"),
    "defended_clean": (_SCORE, "f(P(x)): the defended metric on the clean image; equals clean without a defense"),
    "defended_attacked": (_SCORE, "f(P(x')): the defended metric on the adversarial image"),
    "defended_clean_again": (
        _SCORE,
        "f(P(x)) once more, with fresh noise and scored as attacked images are; NaN where nothing is random",
    ),
    "defended_adaptive": (_SCORE, "f(P(x')) of the adaptive attack's image, in the scoring that chose the worst one"),
    "defended_transferred": (_SCORE, "the same of the image that the attack made against the undefended metric"),
    "defended_queried": (_SCORE, "the same of the black-box attack's image; NaN beyond its images"),
    "worst_source": (
        _TEXT,
        "whose image is judged in an adaptive cell: adaptive, transferred or queried; empty in others",
    ),
    "placebo": (_SCORE, "f(P(x + s)): the defended metric under random signs of the attack's l∞"),
    "clean_jpeg": (_SCORE, "f(E(x)): the undefended metric on the clean image as a JPEG file; NaN where not measured"),
    "attacked_jpeg": (_SCORE, "f(E(x')): the undefended metric on the adversarial image as a JPEG file"),
    "clean_resize": (_SCORE, "f(E(x)): on the clean image, shrunk and brought back to its size"),
    "attacked_resize": (_SCORE, "f(E(x')): on the adversarial image, shrunk and brought back to its size"),
    "ssim": (_SCORE, "SSIM(x, x')"),
    "psnr": (_SCORE, "PSNR(x, x') in dB; infinite when the attack changed nothing"),
    "linf": (_SCORE, "largest change of one value, in units of 1"),
    "l2": (_SCORE, "Euclidean norm of the change, in units of 1"),
    "ssim_purified": (_SCORE, "SSIM(x, P(x')); NaN where pixels do not correspond"),
    "psnr_purified": (_SCORE, "PSNR(x, P(x')) in dB; NaN where pixels do not correspond"),
    "entrant": (_FLAG, "the image was attacked (false where an attack on a share of the images left it as it is)"),
    "forwards": (_COUNT, "forward passes the attack spent on the image"),
    "backwards": (_COUNT, "backward passes the attack spent on the image"),
    "gradient_finite": (_FLAG, "every gradient was finite (true for attacks without gradients)"),
    "gradient_nonzero": (_FLAG, "some gradient was not zero (true for attacks without gradients)"),
    "responded": (_FLAG, "some query's score differed from the clean one"),
    "clean_lower": (_SCORE, "certified lower bound of the smoothed score on the clean image; NaN without one"),
    "clean_upper": (_SCORE, "certified upper bound on the clean image"),
    "attacked_lower": (_SCORE, "certified lower bound on the adversarial image"),
    "attacked_upper": (_SCORE, "certified upper bound on the adversarial image"),
    "attacked_lower_familywise": (_SCORE, "the same bound, which holds for all images of the cell at once"),
    "attacked_upper_familywise": (_SCORE, "the same bound, which holds for all images of the cell at once"),
    "radius": (_SCORE, "certified l2 radius around the adversarial image, in units of 1; 0 where it abstains"),
    "radius_familywise": (_SCORE, "the same radius, where the certificates of all images of the cell hold at once"),
    "clean_radius": (_SCORE, "certified l2 radius around the clean image; NaN without certificates"),
    "abstained": (_FLAG, "no certificate for the adversarial image"),
    "clean_abstained": (_FLAG, "no certificate for the clean image"),
    "clean_class": (_COUNT, "class of the score that a smoothed classification gives the clean image; −1 in others"),
    "attacked_class": (_COUNT, "the same of the adversarial image"),
    "clean_votes": (_COUNT, "noisy samples of the clean image in that class; 0 in others"),
    "attacked_votes": (_COUNT, "the same of the adversarial image"),
    "attacked_samples": (_COUNT, "noisy samples of the adversarial image that its certificate rests on; 0 in others"),
    "estimate_lower": (
        _SCORE,
        "lower confidence bound of the ideal smoothed median at the adversarial image itself; NaN without one",
    ),
    "estimate_upper": (_SCORE, "upper confidence bound of the same"),
    "broken": (_FLAG, "inside its radius the certificate did not hold (true in soundness cells alone)"),
}
"""Columns of the images table with their type and meaning, in file order."""

DRAW_COLUMNS = {
    "id": (_TEXT, "sample id"),
    "state": (_TEXT, "clean, attacked, placebo or clean-again"),
    "draw": (_COUNT, "number of the noisy sample"),
    "score": (_SCORE, "the metric's score of it"),
}

_META = b"iqa_robustness"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known about one cell.

    images: `IMAGE_COLUMNS`, one row an image.
    draws: `DRAW_COLUMNS`, for stochastic scores; empty otherwise.
    meta: JSON: the cell, the key, the metric's range and direction, protocols, traces, the attack's proof.
    volatile: JSON of what may differ between two equal runs: seconds, host, worker, created.
    """

    images: pd.DataFrame
    meta: dict[str, Any]
    draws: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(DRAW_COLUMNS)))
    volatile: dict[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """The record as store files; equal records give equal bytes (volatile facts are kept apart by the store)."""
        files = {"record.parquet": _to_parquet(self.images, IMAGE_COLUMNS, self.meta)}
        if len(self.draws):
            files["draws.parquet"] = _to_parquet(self.draws, DRAW_COLUMNS, {})
        return files

    @classmethod
    def from_files(cls, files: dict[str, bytes], *, volatile: dict[str, Any] | None = None) -> Record:
        """Read back what `files` wrote. Raises CorruptEntryError, or ConfigurationError for another schema version."""
        if "record.parquet" not in files:
            raise CorruptEntryError(
                "a store entry holds no record.parquet", fix="compute the cell again in a new store"
            )
        images, meta = _from_parquet(files["record.parquet"], IMAGE_COLUMNS)
        draws = _from_parquet(files["draws.parquet"], DRAW_COLUMNS)[0] if "draws.parquet" in files else None
        if draws is None:
            return cls(images=images, meta=meta, volatile=volatile or {})
        return cls(images=images, meta=meta, draws=draws, volatile=volatile or {})

    def scores(self, column: str) -> np.ndarray:
        """One column of the images table as float64."""
        return self.images[column].to_numpy(np.float64)

    @property
    def contents(self) -> list[str]:
        """The content of each image."""
        return self.images["content"].tolist()

    @property
    def diam(self) -> float:
        """Width of the metric's score range, score units."""
        low, high = self.meta["metric"]["score_range"]
        return float(high - low)

    @property
    def higher_is_better(self) -> bool:
        """Direction of the metric."""
        return bool(self.meta["metric"]["higher_is_better"])


def _to_parquet(frame: pd.DataFrame, columns: dict[str, tuple[pa.DataType, str]], meta: dict[str, Any]) -> bytes:
    missing = [name for name in columns if name not in frame]
    unknown = [name for name in frame if name not in columns]
    if missing or unknown:
        raise ConfigurationError(f"not the record schema: missing columns {missing}, unknown columns {unknown}")
    try:
        document = json.dumps({**meta, "schema_version": SCHEMA_VERSION}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"a record's meta may hold JSON values only: {error}", fix="numbers that are not finite go into a column"
        ) from error
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()], metadata={_META: document.encode()})
    table = pa.Table.from_pandas(frame[[*columns]], schema=schema, preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(schema.metadata), buffer, compression="zstd")
    return buffer.getvalue()


def _from_parquet(data: bytes, columns: dict[str, tuple[pa.DataType, str]]) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        table = pq.read_table(io.BytesIO(data))
        meta: dict[str, Any] = dict(json.loads(table.schema.metadata[_META]))
        frame = table.to_pandas()
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptEntryError(
            f"a record cannot be read: {error}",
            where=Where(file="record.parquet"),
            fix="compute the cell again in a new store; look for a failing disk if it happens again",
        ) from error
    version = meta.pop("schema_version", None)
    if version != SCHEMA_VERSION or table.column_names != [*columns]:
        other = f"schema {version}" if version != SCHEMA_VERSION else "other columns"
        raise ConfigurationError(
            f"a record was written with {other} (this version reads schema {SCHEMA_VERSION})",
            fix="use the version of iqa-robustness that wrote it, or compute the cell again in a new store",
        )
    return frame, meta
