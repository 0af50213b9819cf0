"""A Ray cluster: how it is reached, what a cell takes of it, and what became of a task."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from iqa_robustness.errors import ClusterError, ConfigurationError

RUNNERS = ("local", "ray")
_SIZES = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": "memory"}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(GiB|MiB)?")
_BYTES = {"GiB": 2**30, "MiB": 2**20}


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one cell takes of a node.

    cpus: processors; a cell computes on one thread.
    gpus: GPUs, also a fraction; None is one where the device is CUDA. Ray does not divide a GPU's memory.
    memory: bytes of main memory that Ray sets aside, 0 for no word on it.
    """

    cpus: float = 1
    gpus: float | None = None
    memory: int = 0

    @classmethod
    def parsed(cls, text: str) -> Share:
        """From `cpus=1,gpus=0.5,memory=8GiB`, any of them. Raises ConfigurationError."""
        found: dict[str, Any] = {}
        for piece in filter(None, (piece.strip() for piece in text.split(","))):
            name, _, amount = piece.partition("=")
            number = _AMOUNT.fullmatch(amount)
            if name not in _SIZES or number is None or (number[2] is not None) != (name == "memory"):
                raise ConfigurationError(
                    f"--iqa-ray-share: {piece!r} is no amount of anything",
                    fix="write cpus=1,gpus=0.5,memory=8GiB or some of them; memory in GiB or MiB",
                )
            found[name] = int(float(number[1]) * _BYTES[number[2]]) if number[2] else float(number[1])
        return cls(**found)

    def options(self, *, on_gpu: bool) -> dict[str, float]:
        """As Ray calls them, for tasks on a GPU or not."""
        gpus = self.gpus if self.gpus is not None else float(on_gpu)
        return {"num_cpus": self.cpus, "num_gpus": gpus, **({"memory": self.memory} if self.memory else {})}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where cells are computed.

    address: of a running cluster, `auto` or `host:port`; empty starts Ray on this machine for the time of the run.
    share: what a cell takes.
    retries: how often a cell is begun anew after its node was lost. One that ends its own process is not.
    """

    address: str = ""
    share: Share = Share()
    retries: int = 3

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """The module `ray`, connected; a connection that was there before is used and left as it is.

        Raises:
            ConfigurationError: Ray is not installed.
            ClusterError: nobody answers at the address.
        """
        try:
            import ray
        except ImportError as error:
            raise ConfigurationError("--iqa-runner ray needs Ray", fix="pip install 'iqa-robustness[ray]'") from error
        if ray.is_initialized():
            yield ray
            return
        try:
            if self.address:
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
            else:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
                ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no Ray cluster can be used at {self.address or 'this machine'}: {error}",
                fix="start one (ray start --head) and give its address, with one version of Ray on all nodes",
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()

    def slots(self, ray: Any, *, on_gpu: bool) -> int:
        """How many cells the nodes can compute at once, as they are now."""
        wanted = {
            {"num_cpus": "CPU", "num_gpus": "GPU"}.get(name, name): amount
            for name, amount in self.share.options(on_gpu=on_gpu).items()
            if amount
        }
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return sum(
            min((int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()), default=1)
            for node in alive
        )


def lost(ray: Any, error: Exception, what: str) -> ClusterError:
    """What to tell of a task that Ray did not bring to its end."""
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        text, fix = "its process ended without a word", "run the cell alone with --iqa-runner local: something kills it"
    elif isinstance(error, ray.exceptions.OutOfMemoryError):
        text = f"its node ran out of memory: {_first(error)}"
        fix = "set more aside for a cell (--iqa-ray-share memory=8GiB), or lower --iqa-micro-batch"
    elif isinstance(error, ray.exceptions.NodeDiedError):
        text, fix = f"its node was lost: {_first(error)}", "run again: what is in the store is not computed anew"
    else:
        text = f"Ray could not run it: {type(error).__name__}: {_first(error)}"
        fix = "look for the same iqa-robustness, Python and Ray on all nodes"
    return ClusterError(f"{what}: {text}", fix=fix)


def _first(error: Exception) -> str:
    """The last line of a message that has many: the innermost cause."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
