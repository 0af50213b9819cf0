"""What attacks and defenses have in common: a class that says what it is, an object that is its parameters."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from iqa_robustness.conformance.check import require
from iqa_robustness.store import Key, document_of

_DECORATOR = "@dataclass(frozen=True, kw_only=True)"


def declared_fields(kind: type[Any], *, name: object = None) -> set[str]:
    """The names of a configuration's parameters; its name, version and decorator are checked.

    Args:
        kind: the class.
        name: of an object, where a property makes it (a composition's parts are its name).
    """
    name = getattr(kind, "name", None) if name is None else name
    require(
        isinstance(name, str) and bool(name),
        "the class declares no name",
        fix="set name: ClassVar[str], the name that results are shown under",
    )
    version = getattr(kind, "version", None)
    require(
        isinstance(version, int) and version >= 1,
        f"version is {version!r}",
        fix="set version: ClassVar[int] = 1, and raise it whenever results change",
    )
    fields = {field.name for field in dataclasses.fields(kind)}
    own = vars(kind).get("__annotations__", {})
    lost = sorted(name for name, hint in own.items() if name not in fields and "ClassVar" not in str(hint))
    require(
        not lost,
        f"{', '.join(lost)} looks like a parameter, and is none: records could not tell its values apart",
        fix=f"decorate the class with {_DECORATOR}, or annotate what is no parameter as ClassVar",
    )
    return fields


def check_identity(configuration: Any, again: Any) -> None:
    """Two objects made alike are equal, show their parameters, and can be written into a store key and read back."""
    names = [field.name for field in dataclasses.fields(configuration)]
    require(
        configuration == again
        and hash(configuration) == hash(again)
        and repr(configuration) == repr(again)
        and all(f"{name}=" in repr(configuration) for name in names),
        f"two that are made alike are not equal, or do not show all of their parameters: {configuration!r}",
        fix=f"decorate the class with {_DECORATOR}, and override none of what it makes",
    )
    document = document_of(configuration)
    require(
        set(document["fields"]) == set(names) and json.loads(Key(document).text) == document,
        f"the parameters cannot be written into a store key and read back: {configuration!r}",
        fix="use numbers, texts, booleans and tuples of them as parameters",
    )
