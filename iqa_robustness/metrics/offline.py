"""A guard around somebody else's constructor: it may read files, and downloads nothing."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

# Functions that fetch a file, where their callers find them: some hold a name of their own. (url, destination, ...)
_FETCHERS = (
    ("torch.hub", "download_url_to_file"),
    ("pyiqa.utils.download_util", "download_url_to_file"),
    ("timm.models._hub", "download_url_to_file"),
)
# Functions that read a file of weights: (path, ...).
_READERS = (("torch", "load"), ("torch.jit", "load"), ("scipy.io", "loadmat"))


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
    """What happened under the guard.

    read: files of weights, in the order in which they were read.
    """

    read: list[Path] = field(default_factory=list)


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
    guard, owner = Guard(), threading.get_ident()
    with ExitStack() as stack:
        for module, name in _READERS:
            _replace(stack, module, name, lambda original: _noting(original, guard, owner))
        if not download or network_forbidden():
            for module, name in _FETCHERS:
                _replace(stack, module, name, lambda original: _refusing(original, owner))
            stack.enter_context(patch.object(urllib.request, "urlopen", _refusing(urllib.request.urlopen, owner)))
            stack.enter_context(patch.object(socket, "getaddrinfo", _unresolved(socket.getaddrinfo, owner)))
            # Hugging Face's client then looks into its cache alone and says at once what is not there.
            constants = sys.modules.get("huggingface_hub.constants")
            if constants is not None and hasattr(constants, "HF_HUB_OFFLINE"):
                stack.enter_context(patch.object(constants, "HF_HUB_OFFLINE", True))
        yield guard


def _replace(stack: ExitStack, module: str, name: str, changed: Callable[[Callable[..., Any]], Any]) -> None:
    if module not in sys.modules and module.partition(".")[0] not in ("torch", "scipy"):
        return
    found = importlib.import_module(module)
    if hasattr(found, name):
        stack.enter_context(patch.object(found, name, changed(getattr(found, name))))


def _noting(original: Callable[..., Any], guard: Guard, owner: int) -> Callable[..., Any]:
    def reading(file: Any, *arguments: Any, **options: Any) -> Any:
        if threading.get_ident() == owner and isinstance(file, str | os.PathLike) and Path(file) not in guard.read:
            guard.read.append(Path(file))
        return original(file, *arguments, **options)

    return reading


def _refusing(original: Callable[..., Any], owner: int) -> Callable[..., Any]:
    def fetching(url: Any, *arguments: Any, **options: Any) -> Any:
        if threading.get_ident() != owner:
            return original(url, *arguments, **options)
        given = arguments[0] if arguments else options.get("dst", "")
        raise DownloadRefused(getattr(url, "full_url", str(url)), str(given) if isinstance(given, str | Path) else "")

    return fetching


def _unresolved(original: Callable[..., Any], owner: int) -> Callable[..., Any]:
    def resolving(host: Any, *arguments: Any, **options: Any) -> Any:
        if threading.get_ident() != owner:
            return original(host, *arguments, **options)
        raise DownloadRefused(host.decode() if isinstance(host, bytes) else str(host))

    return resolving
