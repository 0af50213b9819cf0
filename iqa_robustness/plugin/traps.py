"""Command lines that end badly with workers, refused with what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest


def refuse_traps(config: pytest.Config) -> None:
    """Raise UsageError (exit code 4) where an option does with workers what nobody wants; called on the controller."""
    from xdist.workermanage import parse_tx_spec_config

    if config.getoption("clean_alluredir", default=False) and config.getoption("allure_report_dir", default=None):
        folder = config.getoption("allure_report_dir")
        raise pytest.UsageError(
            "--clean-alluredir with workers: each of them empties the folder when it starts, also the one that takes "
            "a lost one's place, and results are gone\n"
            f"  what to do: remove {folder} before the run, or give each run a folder of its own"
        )
    # With rsync, which pytest-xdist will drop, paths are translated.
    if any(is_remote(spec) for spec in parse_tx_spec_config(config)) and not _rsyncs(config):
        arguments = [str(argument) for argument in config.invocation_params.args]
        for message in path_traps(arguments, config.getoption("file_or_dir", default=[])):
            raise pytest.UsageError(message)


def is_remote(spec: str) -> bool:
    """Whether pytest-xdist takes the worker for one in another folder or on another host."""
    parts = spec.split("//")
    return "popen" not in parts or any(part.startswith("chdir=") for part in parts)


def path_traps(arguments: Sequence[str], positional: Sequence[str]) -> list[str]:
    """What is wrong with arguments that are paths here: for remote workers, pytest-xdist wants to translate them.

    Args:
        arguments: of the command line.
        positional: those of them that are no option and no option's value.
    """
    found = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not _exists(argument.partition("::")[0]):
            continue
        if argument in positional:
            found.append(
                f"{argument} with remote workers: a path here means nothing there\n"
                "  what to do: leave it out; name the folders as testpaths in the ini file, and select with "
                "--iqa-metric and the like, -k or -m"
            )
        else:
            joined = f"{before}={argument}" if before.startswith("--") else f"{before}{argument}"
            found.append(
                f"{before} {argument} with remote workers: pytest-xdist takes the path for one to be copied\n"
                f"  what to do: write {joined}"
            )
    return found


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


def _rsyncs(config: pytest.Config) -> bool:
    return bool(config.getoption("rsyncdir", default=[]) or config.getini("rsyncdirs"))
