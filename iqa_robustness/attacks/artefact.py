"""What the training of an attack leaves: tensors in a safetensors file, which says what they were trained for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from iqa_robustness.errors import ArtefactError, Where


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A trained perturbation or generator, identified by its file's bytes: nothing else of it enters a key.

    data: the bytes of the file.
    sha256: their digest (hex).

    Raises:
        ArtefactError: the bytes are no file that `packed` made.
    """

    version: ClassVar[int] = 1

    data: InitVar[bytes]
    sha256: str = field(init=False)

    def __post_init__(self, data: bytes) -> None:
        try:
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            facts = json.loads(header["__metadata__"]["facts"])
            known = {name: facts[name] for name in ("attack", "version", "direction")}
            tensors = safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(
                f"this is no trained artefact of an attack: {type(error).__name__}: {error}",
                fix="train one with `iqa-robustness train attack NAME --iqa-metric METRIC --out FILE`",
            ) from error
        object.__setattr__(self, "sha256", hashlib.sha256(data).hexdigest())
        object.__setattr__(self, "_facts", known)
        object.__setattr__(self, "_tensors", tensors)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Artefact:
        """The artefact in a file. Raises ArtefactError, which names the file."""
        try:
            return cls(data=Path(path).read_bytes())
        except OSError as error:
            raise ArtefactError(
                f"cannot read the artefact: {error}", where=Where(file=str(path)), fix="check the path in artefact="
            ) from error
        except ArtefactError as error:
            raise error.at(file=str(path)) from error.__cause__

    @property
    def facts(self) -> Mapping[str, Any]:
        """`attack` and its `version`, as declared when it was trained, and `direction`, `raise` or `lower`."""
        return self.__dict__["_facts"]  # type: ignore[no-any-return]

    def tensors(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """By name, on a device."""
        return {name: tensor.to(device) for name, tensor in self.__dict__["_tensors"].items()}


def packed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """A file of tensors and facts (JSON); equal arguments give equal bytes."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(held, metadata={"facts": json.dumps(facts, sort_keys=True)})
