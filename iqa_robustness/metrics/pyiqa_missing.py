"""Why a metric of pyiqa could not be constructed: the file that it lacks, where that is looked for, what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from iqa_robustness.errors import WeightsError, Where
from iqa_robustness.metrics.offline import DownloadRefused, causes, not_cached

_HUB = re.compile(r"https://huggingface\.co/(?P<repository>[\w.-]+/[\w.-]+)/resolve/[\w.-]+/(?P<file>[\w./-]+)")


def missing_file(error: BaseException, where: Where) -> WeightsError | None:
    """The error to raise when a construction failed for a missing file; None when it failed for another reason.

    Args:
        error: what the library raised.
        where: with `metric` as `pyiqa:NAME`.
    """
    chain = [*causes(error)]
    for cause in chain:
        if isinstance(cause, DownloadRefused):
            return _refused(cause, where)
    if not_cached(error) or _is_of_the_hub(error):
        return _not_in_hub_cache(chain, where)
    for cause in chain:
        if isinstance(cause, FileNotFoundError):
            return WeightsError(
                f"{where.metric} needs a file that does not exist: {cause.filename or cause}",
                where=where.completed(file=str(cause.filename or "")),
                fix="correct its path, or leave the option out",
            )
    return None


def _refused(cause: DownloadRefused, where: Where) -> WeightsError:
    file = Path(cause.destination or cause.source).name
    place = cause.destination
    if not place and "/clip/" in cause.source:  # the library opens the address itself, and names no destination
        home = "~/.cache/clip" if where.metric.startswith("pyiqa:afine") else os.path.join(torch.hub.get_dir(), "clip")  # noqa: PTH118
        place = f"{home}/{file}"
    return WeightsError(
        f"{where.metric} needs {file}, which is neither part of this package nor in the caches, and nothing is fetched",
        where=where.completed(file=place),
        fix=(f"put {cause.source} there; or " if place else "") + _fetch(where),
    )


def _not_in_hub_cache(chain: list[BaseException], where: Where) -> WeightsError:
    found = next((match for match in (_HUB.search(str(cause)) for cause in chain) if match), None)
    needed = f"{found['file']} of {found['repository']}" if found else "files of a model"
    said = "" if found else f" ({str(chain[0]).strip().partition(chr(10))[0]})"
    return WeightsError(
        f"{where.metric} needs {needed} from Hugging Face's hub, not in its cache, and nothing is fetched{said}",
        where=where.completed(file=str(_hub_cache())),
        fix=_fetch(where),
    )


def _fetch(where: Where) -> str:
    return (
        f"fetch it where there is a network, `metrics.create({where.metric!r}, download=True)` without HF_HUB_OFFLINE, "
        "and copy the caches ($TORCH_HOME/hub, $HF_HOME/hub)"
    )


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _is_of_the_hub(error: BaseException) -> bool:
    """The words of transformers for a model that it can neither find nor fetch."""
    return isinstance(error, OSError) and "huggingface.co" in str(error)
