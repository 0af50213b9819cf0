"""What commands that compute through the store have in common: the options of a run, and the runner that they make."""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import dataclass, replace

from iqa_robustness.attacks.strengths import StrengthTable
from iqa_robustness.bench.devices import Numerics, prepared_device
from iqa_robustness.bench.plan import Sizes
from iqa_robustness.bench.profiles import Profile, names, profile
from iqa_robustness.bench.runners.local import LocalRunner
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.store import Store


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A profile, what the options override of it, and the runner."""

    profile: Profile
    sizes: Sizes
    runner: LocalRunner


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options as a run of pytest has them, with the same defaults: both find the same entries in a store."""
    parser.add_argument("--iqa-dataset", default="mini", metavar="REF", help="images: mini (bundled), folder:PATH …")
    parser.add_argument("--iqa-images", type=int, metavar="N", help="instead of the profile's number")
    parser.add_argument("--iqa-size", type=parsed_size, metavar="HxW", help="pixels, instead of the profile's size")
    parser.add_argument("--iqa-profile", choices=names(), default="smoke")
    parser.add_argument("--iqa-store", metavar="URL", default=".iqa-store", help="folder or fsspec URL of the store")
    parser.add_argument("--iqa-store-base", metavar="URL", help="a store that is only read, for what --iqa-store lacks")
    parser.add_argument("--iqa-from-store", action="store_true", help="compute nothing that the store has not")
    parser.add_argument("--iqa-device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument("--iqa-micro-batch", type=int, default=4, help="rows of every forward pass")
    parser.add_argument("--iqa-seed", type=int, default=0)


def experiment_of(options: argparse.Namespace, *, device: str = "", computes: bool = True) -> Experiment:
    """The runner that the options describe, on another device if one is given; one that only reads unless `computes`.

    Raises:
        ConfigurationError: an option makes no sense here.
    """
    from_store = options.iqa_from_store or not computes
    if options.iqa_images is not None and options.iqa_images < 1:
        raise ConfigurationError(f"--iqa-images must be at least 1, got {options.iqa_images}")
    chosen = profile(options.iqa_profile)
    if options.iqa_size is not None:
        chosen = replace(chosen, size=options.iqa_size)
    numerics = Numerics(device=prepared_device(device or options.iqa_device), micro_batch=options.iqa_micro_batch)
    return Experiment(
        profile=chosen,
        sizes=Sizes(dataset=options.iqa_dataset, images=options.iqa_images, seed=options.iqa_seed),
        runner=LocalRunner(
            Store(options.iqa_store, read_only=from_store, base=options.iqa_store_base),
            numerics,
            from_store=from_store,
            progress=_Lines(),
            strengths=StrengthTable.published() if chosen.strengths == "published" else StrengthTable(),
        ),
    )


def parsed_size(text: str) -> tuple[int, int]:
    """`384x512` (or with ×) to (384, 512)."""
    found = re.fullmatch(r"([1-9]\d*)[x×]([1-9]\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no HEIGHTxWIDTH in pixels, for one 384x512")
    return int(found[1]), int(found[2])


class _Lines:
    """Says on stderr how far a long stage is, at most once in `PATIENCE` seconds."""

    PATIENCE = 15.0

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shorter stages add up: what is said is the stage that is going on."""
        now = time.monotonic()
        if now - self._said >= self.PATIENCE:
            self._said = now
            print(f"{stage}: {done} of {total} images", file=sys.stderr, flush=True)
