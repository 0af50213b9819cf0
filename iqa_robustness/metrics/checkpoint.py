"""Published checkpoints: tensors read without executing anything, and loaded into a network key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.base import WeightsFile
from iqa_robustness.metrics.weights import WeightsEntry, entry_of, located, sha256_of

# CNNIQA's authors give their file no suffix.
SUFFIXES = (".pth", ".pt", ".pkl", ".ckpt", ".bin", ".safetensors", "")
# What training scripts call the part of their file that holds the tensors.
CONTAINERS = ("state_dict", "model", "params_ema", "params", "model_state_dict")
# What wrappers put before every key: DataParallel, torch.compile, training frameworks.
PREFIXES = ("module.", "_orig_mod.", "model.", "net_g.")
NAMED = 3

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def read_container(path: Path, *, entry: WeightsEntry, sha256: str = "") -> Any:
    """The content of a checkpoint as its file has it, usually nested mappings with tensors.

    Pickles are read by torch's restricted unpickler, which calls nothing but what rebuilds tensors; NumPy numbers are
    let through beside them, because training scripts store their records with the weights.

    Args:
        path: a .pth, .pt, .pkl, .ckpt, .bin or suffixless (torch.save) or a .safetensors file.
        entry: the published file that it is or stands for, for messages.
        sha256: the digest the file has to have (hex); any when empty.

    Raises:
        WeightsError: unreadable, another digest, another format, or objects other than tensors and plain data.
    """
    where = entry.where(path)
    again = f"get {entry.file} again from {entry.origin}"
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"the weights have the suffix {path.suffix!r}",
            where=where,
            fix=f"give one of {', '.join(filter(None, SUFFIXES))}",
        )
    try:
        found = sha256_of(path)
        if sha256 and found != sha256:
            raise WeightsError(
                f"the weights have sha256 {found}, {sha256} is expected",
                where=where,
                fix=f"{again}; for weights of your own give weights=PATH",
            )
        if path.suffix == ".safetensors":
            return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read the weights: {error}", where=where, fix=again) from error
    try:
        with torch.serialization.safe_globals(_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of unknown bytes makes the unpickler fail in any way at all
        first = str(error).strip().splitlines() or [""]
        raise WeightsError(
            f"the file holds no plain tensors, and nothing else is loaded: {type(error).__name__}: {first[0]}",
            where=where,
            fix=f"{again}, or save the network's state_dict() from a file you trust",
        ) from error


def tensors_of(container: Any, *, entry: WeightsEntry, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, without the usual containers and prefixes.

    Raises:
        WeightsError: what remains is not a mapping from names to tensors.
    """
    while isinstance(container, Mapping) and not _is_state(container):
        inner = next((container[name] for name in CONTAINERS if isinstance(container.get(name), Mapping)), None)
        if inner is None:
            break
        container = inner
    if not _is_state(container):
        kind = f"a mapping with {_few([*container])}" if isinstance(container, Mapping) else type(container).__name__
        raise WeightsError(
            f"the weights hold no mapping from names to tensors: {kind}",
            where=entry.where(path),
            fix=f"give a state_dict(), plain or under one of {', '.join(CONTAINERS)}",
        )
    state: dict[str, Tensor] = dict(container)
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def read_checkpoint(path: Path, *, entry: WeightsEntry, sha256: str = "") -> dict[str, Tensor]:
    """Tensors by key, on the CPU. Raises WeightsError; see `read_container` and `tensors_of`."""
    return tensors_of(read_container(path, entry=entry, sha256=sha256), entry=entry, path=path)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, entry: WeightsEntry, path: Path) -> None:
    """Copy tensors into a network; every key and shape has to fit.

    Counters of batch normalisation, which files from before torch 0.4.1 lack and inference does not use, may be absent.

    Raises:
        WeightsError: keys are missing, unexpected, or of another shape; the first of each kind are named.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    faults = [
        f"{word} {_few(keys)}"
        for word, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if keys
    ]
    if faults:
        raise WeightsError(
            f"the weights do not fit {entry.owner}: {'; '.join(faults)}",
            where=entry.where(path),
            fix=f"give the file that the authors publish: {entry.file} from {entry.origin}",
        )
    module.load_state_dict(dict(state), strict=True)


def load_published(
    build: Callable[[], ModuleT],
    owner: str,
    weights: str | Path | None,
    *,
    state_of: Callable[..., dict[str, Tensor]] = tensors_of,
) -> tuple[ModuleT, WeightsFile]:
    """Find and read the weights of a metric or defense, then build its network, in this order: building takes seconds.

    The digest of the manifest is asked of its own file only, not of a given one.

    Args:
        build: makes the network, in the key layout of the published file.
        owner: registered name.
        weights: a file, or None for the one in `weights.folder()`.
        state_of: makes the state from the file's content, where that is more than unwrapping.

    Returns:
        The network, and the file's name, digest and origin for a `MetricSpec`.

    Raises:
        WeightsError: the file is missing, unreadable, or does not fit.
    """
    path, entry = located(owner, weights), entry_of(owner)
    container = read_container(path, entry=entry, sha256=entry.sha256 if weights is None else "")
    state = state_of(container, entry=entry, path=path)
    network = build()
    load_strictly(network, state, entry=entry, path=path)
    return network, WeightsFile(name=path.name, sha256=sha256_of(path), origin=entry.origin)


def _is_state(container: Any) -> bool:
    return (
        isinstance(container, Mapping)
        and bool(container)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in container.items())
    )


def _few(keys: list[Any]) -> str:
    shown = ", ".join(str(key) for key in keys[:NAMED])
    return shown + (f" and {len(keys) - NAMED} more" if len(keys) > NAMED else "")


def _numbers() -> list[Any]:
    """What a pickled NumPy number or array of numbers consists of, under the names of NumPy 1 and 2."""
    scalar: Any = np.float64(0).__reduce__()[0]
    rebuild: Any = np.zeros(1).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "bool")]
    names = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (scalar, rebuild)
        for core in ("core", "_core")
    ]
    return [np.dtype, np.ndarray, *kinds, *names]
