"""The plugin's options: each is also an ini option, and each value is a plain string that workers receive unchanged."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, kw_only=True)
class Option:
    """One `--iqa-NAME VALUE` option; `flag` options take no value.

    forms: the only values there are; without one, the first. A value is written behind `=`: what stands behind a space
        is a path to pytest.
    """

    name: str
    help: str
    default: str = ""
    flag: bool = False
    forms: tuple[str, ...] = ()

    @property
    def destination(self) -> str:
        """As pytest's config and ini files know it."""
        return f"iqa_{self.name.replace('-', '_')}"


OPTIONS = (
    Option(
        name="metric",
        help="metrics: names, patterns, package.module:Class, exec:COMMAND or onnx:PATH, separated by commas",
    ),
    Option(name="defense", help="defenses: names or patterns, separated by commas"),
    Option(name="attack", help="attacks: names or patterns, separated by commas"),
    Option(name="strength", help="strengths of attacks: weak, medium, strong"),
    Option(name="scenario", help="scenarios: clean, nonadaptive, adaptive, certified, transfer"),
    Option(name="dataset", help="images: mini (bundled), folder:PATH, koniq:PATH …", default="mini"),
    Option(name="images", help="images a cell uses, instead of the profile's number"),
    Option(name="profile", help="how much is run: smoke, standard, paper, purification-study", default="smoke"),
    Option(name="store", help="folder or fsspec URL of the store", default=".iqa-store"),
    Option(
        name="store-base",
        help="a store that is only read: what --iqa-store lacks is taken from there, what is new goes into --iqa-store",
    ),
    Option(name="from-store", help="compute nothing; judge what the store holds, the rest is missing", flag=True),
    Option(name="thresholds", help="thresholds file", default="thresholds.yaml"),
    Option(
        name="baseline",
        help="store or exported file of another run; a cell that is worse by more than max_regression fails",
    ),
    Option(
        name="ranges", help="YAML file of calibrated score ranges (iqa-robustness calibrate), besides the package's"
    ),
    Option(
        name="strengths",
        help="YAML file of attack strengths (iqa-robustness align), published, or own: the attacks' [the profile's]",
    ),
    Option(name="reports", help="folder for summary.html, summary.md and results.parquet", default="reports"),
    Option(name="shard", help="I/N: only this part of the cells, for N machines with one store"),
    Option(
        name="runner", help="where cells are computed: local (this process, or pytest-xdist's), or ray", default="local"
    ),
    Option(name="ray-address", help="of a Ray cluster: auto, host:port; without it Ray is started here"),
    Option(name="ray-share", help="what a cell takes of a node: cpus=1,gpus=0.5,memory=8GiB, or some of them"),
    Option(name="device", help="auto, cpu, cuda, cuda:1 …", default="auto"),
    Option(name="micro-batch", help="rows of every forward pass; part of a cell's key", default="4"),
    Option(name="max-queries", help="forward passes an attack may spend on an image"),
    Option(
        name="scoring",
        help="how random pairs are scored: one-shot, mean-of-K, worst-of-K (attacked images by the worst of K draws)",
        default="one-shot",
    ),
    Option(name="draws", help="draws averaged behind each gradient or query of a random target, for the profile's"),
    Option(name="doublings", help="how often the iterations of adaptive attacks are doubled, for the profile's number"),
    Option(
        name="licence-policy",
        help="any, or commercial: leave out metrics whose licence is not known to permit commercial use",
        default="any",
    ),
    Option(name="cell-timeout", help="seconds after which a cell is stopped; 0 for no limit", default="3600"),
    Option(name="max-hours", help="hours after which no cell is begun any more; what the store lacks then is missing"),
    Option(
        name="plan",
        help="run nothing: print what the selected cells are, what the store has of them, time, memory, space",
        forms=("table", "json"),
    ),
    Option(name="seed", help="seed of everything random", default="0"),
    Option(
        name="attachments", help="pictures in Allure and summary.html: none, worst, all (Allure alone)", default="worst"
    ),
    Option(
        name="attachments-megabytes",
        help="megabytes that the attachments of a run may take in Allure; 0 for no limit",
        default="200",
    ),
)

MARKERS = (
    "iqa_cells(scenario, goal='raise', dataset='', metric='', defense='', attack='', strength='', between='defenses'): "
    "the test gets one item for each cell; patterns as in the --iqa options",
    "iqa_whole_run: the test is part of runs that no option narrows",
    "metric(name): the item's metric, for exact selection with -m \"metric(name='compact')\"",
    "defense(name): the item's defense",
    "attack(name): the item's attack",
    "strength(name): the item's strength",
    "scenario(name): the item's scenario",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, on the command line and in ini files."""
    group = parser.getgroup("iqa-robustness", "robustness of image-quality metrics")
    for option in OPTIONS:
        hint = f"{option.help} [{option.default}]" if option.default else option.help
        if option.flag:
            group.addoption(f"--iqa-{option.name}", dest=option.destination, action="store_true", help=hint)
            parser.addini(option.destination, hint, type="bool", default=False)
        elif option.forms:
            for form, spelled in zip(option.forms, ("", *(f"={form}" for form in option.forms[1:])), strict=True):
                names = [f"--iqa-{option.name}{spelled}", *([] if spelled else [f"--iqa-{option.name}={form}"])]
                group.addoption(*names, dest=option.destination, action="store_const", const=form, help=hint)
            parser.addini(option.destination, hint, default="")
        else:
            group.addoption(f"--iqa-{option.name}", dest=option.destination, metavar="VALUE", help=hint)
            parser.addini(option.destination, hint, default="")


def value(config: pytest.Config, name: str) -> str:
    """An option's value: command line, then ini file, then default."""
    option = next(option for option in OPTIONS if option.name == name)
    given = config.getoption(option.destination)
    return str(given or config.getini(option.destination) or option.default)


def flag(config: pytest.Config, name: str) -> bool:
    """Whether a flag is set on the command line or in the ini file."""
    option = next(option for option in OPTIONS if option.name == name)
    return bool(config.getoption(option.destination) or config.getini(option.destination))
