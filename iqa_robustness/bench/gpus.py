"""Which GPUs a run may use and how many processes fit on each, without torch: nothing is initialised on any of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# What a process needs on a GPU beside its tensors (context, kernels, libraries), and what is left free.
_CONTEXT_MEBIBYTES = 700.0
_SPARE = 0.1
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_MIG = re.compile(r"^\s+MIG\s+\S*?(\d+)gb\S*\s+Device\s+\d+:\s+\(UUID:\s*(MIG-[^)\s]+)\)")
_GPU = re.compile(r"^GPU\s+(\d+):.*\(UUID:\s*(GPU-[^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """name: as `CUDA_VISIBLE_DEVICES` takes it.     mebibytes: of free memory, None where unknown."""

    name: str
    mebibytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What `nvidia-smi` says of a machine.

    devices: output of `nvidia-smi -L`.
    memory: output of `nvidia-smi --query-gpu=uuid,memory.free --format=csv,noheader,nounits`.
    """

    devices: str = ""
    memory: str = ""

    @classmethod
    def of_this_machine(cls) -> Listing:
        """Asked now; empty where there is no such program, or no driver."""
        return cls(
            devices=_answer("-L"), memory=_answer("--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits")
        )

    @property
    def gpus(self) -> list[Gpu]:
        """What a process may be given: MIG instances of a GPU that is divided, whole GPUs otherwise; by UUID."""
        free = self._free
        found: list[tuple[str, list[Gpu]]] = []
        for line in self.devices.splitlines():
            if whole := _GPU.match(line):
                found.append((whole[2], []))
            elif (part := _MIG.match(line)) and found:
                found[-1][1].append(Gpu(name=part[2], mebibytes=1024.0 * int(part[1])))
        return [gpu for uuid, parts in found for gpu in parts or [Gpu(name=uuid, mebibytes=free.get(uuid))]]

    def memory_of(self, name: str) -> float | None:
        """Free memory of what a name in `CUDA_VISIBLE_DEVICES` means: a number, a UUID or the beginning of one."""
        if name.isdigit():
            uuids = [match[2] for line in self.devices.splitlines() if (match := _GPU.match(line))]
            return self._free.get(uuids[int(name)]) if int(name) < len(uuids) else None
        known = {gpu.name: gpu.mebibytes for gpu in self.gpus} | self._free
        return next((mebibytes for uuid, mebibytes in known.items() if uuid.startswith(name)), None)

    @property
    def _free(self) -> dict[str, float | None]:
        pairs = (line.split(",") for line in self.memory.splitlines() if line.count(",") == 1)
        return {uuid.strip(): float(free) if free.strip().isdigit() else None for uuid, free in pairs}


def visible_gpus(listing: Listing, environment: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that the caller lets the run see: what `CUDA_VISIBLE_DEVICES` names, in its order and its words.

    As in CUDA, the first entry that names no device hides the rest. Without the variable, all that the machine has.

    Args:
        listing: of the machine.
        environment: of the caller.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return listing.gpus
    found: list[Gpu] = []
    for name in (part.strip() for part in given.split(",")):
        if not (name.isdigit() or name.startswith(("GPU-", "MIG-"))):
            break
        found.append(Gpu(name=name, mebibytes=listing.memory_of(name)))
    return found


def workers_on(gpus: Sequence[Gpu], *, need: float | None, cores: int) -> int:
    """How many workers a run gets.

    Args:
        gpus: what it may use; the one with the least memory decides how many processes each takes.
        need: MiB of tensors that a process has been seen to need; None for one process a GPU.
        cores: of the machine; more workers than cores only wait, but every GPU gets one.
    """
    sizes = [gpu.mebibytes for gpu in gpus if gpu.mebibytes is not None]
    each = 1
    if need is not None and sizes:
        each = max(1, int(min(sizes) * (1 - _SPARE) // (need + _CONTEXT_MEBIBYTES)))
    return max(len(gpus), min(len(gpus) * each, cores))


def placements(count: int, gpus: Sequence[Gpu], *, cores: int, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """What is added to the environment of each of so many workers: its GPU in turn, and its share of the cores.

    Without GPUs a worker has one thread: that is what exact repeatability asks for. What the caller has set stays.
    """
    threads = max(1, cores // count) if gpus and count else 1
    common = {name: str(threads) for name in _THREADS if name not in environment}
    pinned = [{"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)].name} if gpus else {} for number in range(count)]
    return [common | own for own in pinned]


def _answer(*arguments: str) -> str:
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
