"""The console script `iqa-robustness`: what is better said on a command line than in a pytest run."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from iqa_robustness import __version__, attacks, datasets, defenses, metrics
from iqa_robustness.defenses import detectors
from iqa_robustness.errors import ExitCode, IqaRobustnessError
from iqa_robustness.registry import Entry, Registry

_KINDS: dict[str, Registry] = {  # type: ignore[type-arg]
    "metrics": metrics.registry,
    "attacks": attacks.registry,
    "defenses": defenses.registry,
    "detectors": detectors.registry,
    "datasets": datasets.registry,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns its exit code, that of `errors.ExitCode` for errors of ours and of the file system."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a sign of a table shows the table all the same
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run is _list:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except IqaRobustnessError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return int(error.exit_code)
    except BrokenPipeError:
        # Whoever read on, `head` for one, has seen enough; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        # A full disk, a folder that is not there: a plan of the user's that failed, and no place in our code.
        print(f"the file system refused: {error}\n  what to do: check path, permissions and space", file=sys.stderr)
        return int(ExitCode.INFRASTRUCTURE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="iqa-robustness", description="Robustness of image-quality metrics under adversarial attacks."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="what is registered: metrics, attacks, defenses, detectors, data sets")
    listing.add_argument("kind", nargs="?", choices=[*_KINDS], help="only these")
    listing.add_argument("--json", action="store_true", help="machine-readable")
    listing.set_defaults(run=_list)

    training = commands.add_parser("train", help="train an attack, or what the package ships").add_subparsers(
        title="what", required=True, metavar="WHAT"
    )
    head = training.add_parser(
        "metric-head", add_help=False, help="the bundled metrics: the MOS head of lite0, or compact"
    )
    head.set_defaults(run=_deferred("iqa_robustness.training.metric_head", head.prog))

    metric = training.add_parser("metric", add_help=False, help="any network against attacks on it: the at-… defenses")
    metric.set_defaults(run=_deferred("iqa_robustness.training.adversarial_command", metric.prog))

    attack = training.add_parser(
        "attack", add_help=False, help="uap, cumulative-uap or facpa, against a metric; a run finds it in the store"
    )
    attack.set_defaults(run=_deferred("iqa_robustness.training.attack", attack.prog))

    diffusion = training.add_parser("diffusion", add_help=False, help="the small diffusion model behind diffpure")
    diffusion.set_defaults(run=_deferred("iqa_robustness.training.diffusion", diffusion.prog))

    defense = training.add_parser("defense", add_help=False, help="fcn, on images that an attack made")
    defense.set_defaults(run=_deferred("iqa_robustness.training.defense", defense.prog))

    for name, module, summary in (
        ("init", "iqa_robustness.conformance.init_command", "start in a repository of your own: thresholds, gates, CI"),
        ("plan", "iqa_robustness.reporting.plan_command", "what a run would compute, how long, how much"),
        ("run", "iqa_robustness.reporting.run_command", "fill the store with a plan's cells, here or on a Ray cluster"),
        ("weights", "iqa_robustness.metrics.weights_command", "published weights: list, fetch, verify, where"),
        ("calibrate", "iqa_robustness.training.calibrate", "measure the score range of a metric on images"),
        ("align", "iqa_robustness.bench.align_command", "solve for the strengths of an attack at a stated visibility"),
        ("agreement", "iqa_robustness.reporting.agreement_command", "does the order of defenses hold on other images?"),
        ("clips", "iqa_robustness.reporting.clips_command", "what attacks do to whole clips: mean and worst frame"),
        ("dataset", "iqa_robustness.reporting.dataset_command", "data sets: show, verify, sample; adversarial images"),
        ("detect", "iqa_robustness.reporting.detect_command", "which attacks a detector sees: AUC, rates, ROC curves"),
        (
            "degradations",
            "iqa_robustness.reporting.degradations_command",
            "what defenses make of images that are truly bad",
        ),
        ("compare", "iqa_robustness.reporting.compare_command", "two versions of a metric, by their runs' stores"),
        (
            "leaderboard",
            "iqa_robustness.reporting.leaderboard_command",
            "defenses ranked from stored records: build the pages, pack and admit records",
        ),
        ("report", "iqa_robustness.reporting.report_command", "Allure's report of a run, by Node"),
        (
            "store",
            "iqa_robustness.reporting.store_command",
            "look into stores, verify, clean, merge, export, compare, promote",
        ),
        (
            "thresholds",
            "iqa_robustness.reporting.thresholds_command",
            "explain a cell's thresholds, find dead rules, suggest tighter ones",
        ),
        ("verify", "iqa_robustness.reporting.verify_command", "conclude a run's verdict again from its records"),
        ("qualify", "iqa_robustness.submission", "check a metric, an attack or a defense, your own too; hand it in"),
    ):
        command = commands.add_parser(name, add_help=False, help=summary)
        command.set_defaults(run=_deferred(module, command.prog))
    return parser


def _deferred(module_name: str, prog: str) -> Callable[[argparse.Namespace], int]:
    """A subcommand whose arguments live beside its code, which is imported (with torch) only when it runs."""

    def run(options: argparse.Namespace) -> int:
        # As `python -m` has it: `module:Class` may be a file of the current folder. Last: it hides no library.
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        module = importlib.import_module(module_name)
        parser = argparse.ArgumentParser(prog=prog, description=module.__doc__)
        module.add_arguments(parser)
        return int(module.run(parser.parse_args(options.rest)))

    return run


def _list(options: argparse.Namespace) -> int:
    chosen = {kind: _KINDS[kind] for kind in ([options.kind] if options.kind else _KINDS)}
    if options.json:
        print(json.dumps({kind: [asdict(entry) for entry in registry] for kind, registry in chosen.items()}, indent=1))
        return 0
    for number, (kind, registry) in enumerate(chosen.items()):
        entries: list[Entry] = [*registry]
        width = max(len(entry.name) for entry in entries)
        print(("\n" if number else "") + kind)
        for entry in entries:
            print(f"  {entry.name:<{width}}  {entry.summary}")
        for family in registry.families():
            print(f"  {family.entry.name + ':…':<{width}}  {family.entry.summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
