"""Store keys: the SHA-256 of a canonical JSON document of everything a value depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from iqa_robustness.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class Key:
    """A document and its digest. Documents hold declared versions and parameters, never source text."""

    document: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical document, 64 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def text(self) -> str:
        """The document as JSON with sorted keys and no blanks: equal documents have equal texts."""
        try:
            text = json.dumps(self.document, sort_keys=True, separators=(",", ":"), allow_nan=False)
            _check_names(self.document)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"a store key may hold JSON values only: {error}",
                fix="give the configuration plain fields: numbers, strings, booleans, tuples of them",
            ) from error
        return text


def document_of(configuration: Any) -> dict[str, Any]:
    """A frozen dataclass (an attack, a defense) as a key document: class, declared `version`, every field.

    A field that names a file says nothing of what is in it: where the class has `contents`, a mapping from such fields
    to names and digests, these stand in the document.

    Raises:
        ConfigurationError: no dataclass, or without an integer `version`.
    """
    kind = type(configuration)
    version = getattr(configuration, "version", None)
    if not dataclasses.is_dataclass(configuration) or not isinstance(version, int):
        raise ConfigurationError(
            f"{kind.__name__} cannot be part of a store key",
            fix="make it a frozen dataclass with a class attribute `version: ClassVar[int]`",
        )
    fields = {field.name: _plain(getattr(configuration, field.name)) for field in dataclasses.fields(configuration)}
    fields |= getattr(configuration, "contents", {})
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "version": version, "fields": fields}


def _check_names(value: Any) -> None:
    """JSON writes the name 1 as "1": read back, such a document is another one, and its entry would look damaged."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not isinstance(name, str):
                raise TypeError(f"the name {name!r} is no string")
            _check_names(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_names(part)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return document_of(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
