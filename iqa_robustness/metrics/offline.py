"""A guard around somebody else's constructor: it may read files, and downloads nothing."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

# Functions that fetch a file: (url, destination, ...).
_FETCHERS = (("torch.hub", "download_url_to_file"), ("urllib.request", "urlopen"))
# Who holds a name of its own for one of them. Where it is not imported yet, it will take the replacement's.
_HOLDERS = (("pyiqa.utils.download_util", "download_url_to_file"), ("timm.models._hub", "download_url_to_file"))
# Functions that read a file of weights: (path, ...).
_READERS = (("torch", "load"), ("torch.jit", "load"), ("scipy.io", "loadmat"))
# What Hugging Face's client raises for a file that is not in its cache; by name, since it need not be installed.
_NOT_CACHED = ("LocalEntryNotFoundError", "OfflineModeIsEnabled")


class DownloadRefused(Exception):
    """A constructor asked for the network. Not an OSError: those are retried, with pauses, by what fetches files.

    Args:
        source: address or host.
        destination: where the file would have been kept, empty when unknown.
    """

    def __init__(self, source: str, destination: str = "") -> None:
        super().__init__(f"{source} is not to be fetched")
        self.source, self.destination = source, destination


@dataclass(kw_only=True)
class Guard:
    """What happens under the guard.

    download: the network may be used.
    read: files of weights, in the order in which they were read.
    """

    download: bool
    read: list[Path] = field(default_factory=list)


_thread = threading.local()
# What is replaced belongs to the whole process: two guards would restore each other's replacements.
_one_at_a_time = threading.RLock()


def network_forbidden() -> bool:
    """Whether the user forbids the network to everybody: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set."""
    words = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(word.strip().upper() in ("1", "ON", "YES", "TRUE") for word in words)


@contextmanager
def guarded(*, download: bool = False) -> Iterator[Guard]:
    """Within it, this thread reaches no host, and what it reads is noted; other threads are left alone.

    Args:
        download: allow the network, unless `network_forbidden()`.

    Raises:
        DownloadRefused: from within, in place of a download, without delay.
    """
    guard = Guard(download=download and not network_forbidden())
    with _one_at_a_time, ExitStack() as stack:
        for module, name in _READERS:
            _replace(stack, module, name, _noting)
        if not guard.download:
            for module, name in _FETCHERS:
                _replace(stack, module, name, _refusing)
            for module, name in _HOLDERS:
                if module in sys.modules:
                    _replace(stack, module, name, _refusing)
            _replace(stack, "socket", "getaddrinfo", _unresolved)
            # Hugging Face's client then looks into its cache alone and says at once what is not there.
            constants = sys.modules.get("huggingface_hub.constants")
            if constants is not None and hasattr(constants, "HF_HUB_OFFLINE"):
                stack.enter_context(patch.object(constants, "HF_HUB_OFFLINE", True))
        before = _current()
        _thread.guard = guard
        try:
            yield guard
        finally:
            _thread.guard = before


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it was raised from, and so on, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def not_cached(error: BaseException) -> bool:
    """Whether one of its causes is the word of Hugging Face's client for a file that is not in its cache."""
    return any(type(cause).__name__ in _NOT_CACHED for cause in causes(error))


def _current() -> Guard | None:
    found: Guard | None = getattr(_thread, "guard", None)
    return found


def _replace(stack: ExitStack, module: str, name: str, changed: Callable[[Callable[..., Any]], Any]) -> None:
    try:
        found = importlib.import_module(module)
    except Exception:  # an optional library that is absent or broken fetches nothing
        return
    if hasattr(found, name):
        stack.enter_context(patch.object(found, name, changed(getattr(found, name))))


# The replacements ask at every call whether a guard is on: a module first imported under one keeps them for good.


def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def reading(file: Any, *arguments: Any, **options: Any) -> Any:
        guard = _current()
        if guard is not None and isinstance(file, str | os.PathLike) and Path(file) not in guard.read:
            guard.read.append(Path(file))
        return original(file, *arguments, **options)

    return reading


def _refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def fetching(url: Any, *arguments: Any, **options: Any) -> Any:
        guard = _current()
        if guard is None or guard.download:
            return original(url, *arguments, **options)
        given = arguments[0] if arguments else options.get("dst", "")
        raise DownloadRefused(getattr(url, "full_url", str(url)), str(given) if isinstance(given, str | Path) else "")

    return fetching


def _unresolved(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def resolving(host: Any, *arguments: Any, **options: Any) -> Any:
        guard = _current()
        if guard is None or guard.download:
            return original(host, *arguments, **options)
        raise DownloadRefused(host.decode() if isinstance(host, bytes) else str(host))

    return resolving
