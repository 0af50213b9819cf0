"""The parts of `iqa-robustness dataset` that are about adversarial images: build, export, judge."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from iqa_robustness import datasets, defenses, metrics
from iqa_robustness.bench.adversarial_set import Group, read_set
from iqa_robustness.bench.cell import Cell
from iqa_robustness.bench.experiment import Experiment, add_run_arguments, experiment_of
from iqa_robustness.bench.export import Made, export, made
from iqa_robustness.bench.imported import Judged, imported, judged
from iqa_robustness.bench.plan import Selection, parsed_patterns, planned
from iqa_robustness.bench.shards import Shard
from iqa_robustness.errors import ConfigurationError, ExitCode
from iqa_robustness.reporting.columns import Row, aligned, spoken_interval, spread, write_rows
from iqa_robustness.reporting.data_card import data_card

GOALS = ("raise", "lower")
_LEGEND = """\
Gain: f(x') − f(x) towards better; D_score: |f(P(x')) − f(x)|; D_score^(D): |f(P(x')) − f(P(x))|; in per cent of the
score range, with 95 % intervals (contents as clusters). SROCC of f(P(x')) with opinion scores. l∞ in levels of 255."""


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness dataset build`."""
    _add_axes(parser)
    parser.add_argument("--iqa-shard", metavar="I/N", default="1/1", help="only this part of the groups")
    add_run_arguments(parser)


def build(options: argparse.Namespace) -> int:
    """Make the groups of a shard, or find them in the store; says each, and what could not be made."""
    experiment = experiment_of(options)
    cells = sorted(Shard.parsed(options.iqa_shard).of(_cells(options, experiment)), key=lambda cell: cell.name)
    failed = 0
    for number, one in enumerate(made(experiment.runner, cells), 1):
        state = f"FAILED: {one.error}" if one.error else f"{len(experiment.runner.clean(one.cell))} images"
        print(f"{number} of {len(cells)}  {one.cell.id}  {state}", flush=True)
        failed += one.error is not None
    print(f"{len(cells) - failed} of {len(cells)} groups are in the store {experiment.runner.store.url}")
    return int(ExitCode.MISSING if failed else ExitCode.PASS)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness dataset export`."""
    _add_axes(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--container", choices=("png", "tar"), default="png", help="folders of PNG files, or tars")
    parser.add_argument("--partial", action="store_true", help="leave out groups that the store lacks")
    add_run_arguments(parser)


def export_set(options: argparse.Namespace) -> int:
    """Take the groups out of the store, and write images, index, manifest and data card; computes nothing."""
    options.iqa_from_store = True
    experiment = experiment_of(options)
    found = [*made(experiment.runner, sorted(_cells(options, experiment), key=lambda cell: cell.name))]
    missing = [one for one in found if one.error is not None]
    for one in missing:
        print(f"not in the store: {one.cell.id}")
    kept = [one for one in found if one.error is None]
    if not kept or (missing and not options.partial):
        raise ConfigurationError(
            f"{len(missing)} of {len(found)} groups cannot be exported, the first because of: {_first(missing)}",
            fix="make them with `iqa-robustness dataset build` and the same options, or give --partial",
        )
    manifest = export(experiment.runner, kept, options.to, container=options.container)
    card = options.to / "README.md"
    card.write_text(data_card(manifest), encoding="utf-8")
    print(f"written: {sum(group['images'] for group in manifest['groups'])} images, manifest.json, index.csv, {card}")
    return 0


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `iqa-robustness dataset judge`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="exported, or STRENGTH/ATTACK/METRIC/*.png")
    for axis in ("metric", "attack", "strength"):
        parser.add_argument(f"--iqa-{axis}", metavar="NAMES", default="", help="only groups of these [all]")
    parser.add_argument("--iqa-defense", metavar="NAMES", default="none", help="names or patterns [none]")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder for judged.json and .csv [reports]")
    add_run_arguments(parser)


def judge(options: argparse.Namespace) -> int:
    """Score the images of a set that somebody made, print the table, write the files; nothing is attacked."""
    experiment = experiment_of(options)
    groups = [group for group in read_set(options.folder) if _wanted(group, options)]
    known = [group for group in groups if _is_metric(group.metric)]
    for group in groups:
        if group not in known:
            print(f"left out: {group.name}, no metric of this name")
    if not known:
        raise ConfigurationError("no group of the set is selected", fix=f"it has {_spoken(read_set(options.folder))}")
    names = sorted(
        {
            name
            for pattern in parsed_patterns(options.iqa_defense) or ("none",)
            for name in defenses.registry.matching(pattern) or [defenses.registry.resolve(pattern).name]
        }
    )
    data, profile = datasets.load(options.iqa_dataset), experiment.profile
    found = [
        one
        for group in known
        for one in judged(
            experiment.runner,
            imported(group, data, count=options.iqa_images),
            names,
            n0=profile.n0,
            n=profile.n,
            seed=options.iqa_seed,
        )
    ]
    print(described(found))
    facts = {"dataset": options.iqa_dataset, "set": options.folder.name, "seed": options.iqa_seed}
    files = write_rows([row_of(one) for one in found], options.out, "judged", facts=facts)
    print(f"written: {', '.join(str(file) for file in files)}")
    return 0


def described(found: Sequence[Judged]) -> str:
    """An aligned table, a line for each group and defense."""
    head = ("metric", "defense", "attack", "strength", "images", "gain", "D_score", "D_score^(D)", "SROCC")
    lines = [
        (
            *(one.metric, one.defense, one.attack, one.strength, str(one.images)),
            *(spoken_interval(interval) for interval in (one.gain, one.d_score, one.d_score_defended)),
            *("–" if one.srocc != one.srocc else f"{one.srocc:.3f}", f"{one.ssim:.3f}", f"{one.psnr:.1f}"),
            f"{one.linf:.1f}",
        )
        for one in found
    ]
    return f"{aligned([(*head, 'SSIM', 'PSNR', 'l∞'), *lines], left=4)}\n\n{_LEGEND}"


def row_of(one: Judged) -> Row:
    """Its numbers as columns."""
    names = ("metric", "defense", "attack", "strength", "images", "srocc", "ssim", "psnr", "linf")
    return {
        **{name: getattr(one, name) for name in names},
        **spread("gain", one.gain),
        **spread("d_score", one.d_score),
        **spread("d_score_defended", one.d_score_defended),
    }


def _add_axes(parser: argparse.ArgumentParser) -> None:
    for axis in ("metric", "attack", "strength"):
        parser.add_argument(f"--iqa-{axis}", metavar="NAMES", default="", help="names or patterns [the profile's]")
    parser.add_argument("--goal", choices=GOALS, default="raise", help="what the attacker wants [raise]")


def _cells(options: argparse.Namespace, experiment: Experiment) -> list[Cell]:
    chosen = Selection(
        metric=parsed_patterns(options.iqa_metric),
        attack=parsed_patterns(options.iqa_attack),
        strength=parsed_patterns(options.iqa_strength),
        defense=("none",),
    )
    sizes, profile = experiment.sizes, experiment.profile
    plan = planned(scenario="nonadaptive", profile=profile, sizes=sizes, user=chosen, goal=options.goal, load=True)
    if not plan.cells:
        raise ConfigurationError("no attack is selected that the metric can be attacked with", fix="name another one")
    return plan.cells


def _wanted(group: Group, options: argparse.Namespace) -> bool:
    axes = {axis: parsed_patterns(getattr(options, f"iqa_{axis}")) for axis in ("metric", "attack", "strength")}
    return all(
        not patterns or any(fnmatchcase(getattr(group, axis), pattern) for pattern in patterns)
        for axis, patterns in axes.items()
    )


def _is_metric(name: str) -> bool:
    try:
        metrics.registry.resolve(name)
    except ConfigurationError:
        return False
    return True


def _first(missing: Sequence[Made]) -> str:
    return missing[0].error.what if missing and missing[0].error is not None else ""


def _spoken(groups: Sequence[Group]) -> str:
    return ", ".join(group.name for group in groups[:5]) + (" …" if len(groups) > 5 else "")
