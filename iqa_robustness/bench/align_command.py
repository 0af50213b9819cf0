"""Find where an attack on a metric is as visible as weak, medium and strong mean, and write it down."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from iqa_robustness import attacks, datasets, metrics
from iqa_robustness.attacks.objectives import LOWER, RAISE
from iqa_robustness.attacks.strengths import StrengthRow, StrengthTable
from iqa_robustness.bench.align import TARGETS, align
from iqa_robustness.bench.experiment import parsed_size
from iqa_robustness.bench.sources import Clean
from iqa_robustness.datasets.base import view
from iqa_robustness.errors import ConfigurationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness align`."""
    parser.add_argument("--iqa-attack", required=True, metavar="NAME")
    parser.add_argument("--iqa-metric", required=True, metavar="NAME", help="the metric that is attacked")
    parser.add_argument("--iqa-dataset", default="mini", help="images: mini (bundled), folder:PATH")
    parser.add_argument("--images", type=int, default=20, help="how many, spread over contents and scores [20]")
    parser.add_argument("--size", type=parsed_size, default=(192, 256), metavar="HxW", help="pixels [192x256]")
    parser.add_argument("--target", choices=[*TARGETS], default="", help="measure of visibility [the attack's own]")
    parser.add_argument(
        "--grid", type=_values, default=(), metavar="A,B,…", help="values of the parameter to begin with"
    )
    parser.add_argument(
        "--also", action="append", default=[], metavar="FIELD=A,B,…", help="try these values of another field too"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field that stays")
    parser.add_argument("--goal", choices=["raise", "lower"], default="raise")
    parser.add_argument("--queries", type=int, help="of attacks that query")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out", type=Path, default=Path("strengths.yaml"), help="table, made or added to [strengths.yaml]"
    )


def run(options: argparse.Namespace) -> int:
    """Solve, write the row, print it."""
    table = StrengthTable.read(options.out) if options.out.exists() else StrengthTable()
    data = view(datasets.load(options.iqa_dataset), count=options.images, size=options.size)
    fixed = {name: values[0] for name, values in _pairs(options.set).items()}
    if options.queries is not None and "queries" in {
        field.name for field in fields(attacks.create(options.iqa_attack))
    }:
        fixed["queries"] = options.queries
    row = align(
        options.iqa_attack,
        metrics.create(options.iqa_metric, device=options.device),
        Clean(data),
        metric_name=options.iqa_metric,
        measure=options.target,
        values=options.grid,
        others=_pairs(options.also),
        fixed=fixed,
        goal=RAISE if options.goal == "raise" else LOWER,
        seed=options.seed,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(table.completed(row).to_yaml(), encoding="utf-8")
    print(described(row))
    print(f"written: {options.out}; use it with --iqa-strengths {options.out}")
    return 0


def described(row: StrengthRow) -> str:
    """The row as an aligned table."""
    lines = [("strength", "fields", "l∞ × 255", "pixels", "PSNR, dB", "SSIM", "gain, %")]
    for strength in attacks.STRENGTHS:
        seen = row.measured[strength]
        settings = ", ".join(f"{name} {_shown(value)}" for name, value in getattr(row, strength).items())
        lines.append(
            (
                strength,
                settings,
                f"{255 * seen['linf']:.2f}",
                f"{seen['l0']:.1f}",
                f"{seen['psnr']:.2f}",
                f"{seen['ssim']:.4f}",
                f"{100 * seen['gain']:.1f}",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pairs(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`["steps=5,10"]` to `{"steps": [5, 10]}`; values as YAML reads them."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name or not values:
            raise ConfigurationError(f"{text!r} is no FIELD=VALUE", fix="write, for one, steps=5,10")
        found[name] = [yaml.safe_load(value) for value in values.split(",")]
    return found


def _values(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, for one 0.01,0.02") from None
