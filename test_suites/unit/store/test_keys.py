"""Store keys: equal documents have equal digests, different ones do not, and what is no JSON is refused."""

from __future__ import annotations

import enum
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.store import Key, document_of

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(st.text(), VALUES, max_size=4)


@dataclass(frozen=True, kw_only=True)
class Inner:
    version: ClassVar[int] = 3
    radius: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    version: ClassVar[int] = 1
    epsilon: float = 2 / 255
    sizes: tuple[int, ...] = (3, 5)
    inner: Inner = Inner()
    steps: tuple[Inner, ...] = ()


@dataclass(frozen=True)
class Unversioned:
    epsilon: float = 1.0


# --- keys -----------------------------------------------------------------------------------------------------------


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(part) for part in value] if isinstance(value, list) else value


@given(DOCUMENTS)
def test_the_order_of_names_does_not_matter(document: dict[str, Any]) -> None:
    assert Key(reordered(document)).digest == Key(document).digest


@given(DOCUMENTS)
def test_a_key_is_the_sha_256_of_a_text_that_gives_the_document_back(document: dict[str, Any]) -> None:
    key = Key(document)
    assert json.loads(key.text) == document
    assert key.digest == hashlib.sha256(key.text.encode()).hexdigest()
    # The store compares a manifest's document with its address: the way through JSON must not change the key.
    assert Key(json.loads(json.dumps(document, indent=1))).digest == key.digest


@given(DOCUMENTS, DOCUMENTS)
def test_different_documents_have_different_keys(first: dict[str, Any], second: dict[str, Any]) -> None:
    assume(json.dumps(first, sort_keys=True) != json.dumps(second, sort_keys=True))
    assert Key(first).digest != Key(second).digest


def test_a_digest_is_frozen() -> None:
    # Every existing store rests on it.
    key = Key({"stage": "cell", "epsilon": 2 / 255, "images": [1, None, True], "é": "ü"})
    assert key.text == '{"epsilon":0.00784313725490196,"images":[1,null,true],"stage":"cell","\\u00e9":"\\u00fc"}'
    assert key.digest == "c639dee6ecd5ec21e568d4e0817691070e0bc635d58d711efc2106d6cc49a090"


def test_tuples_are_lists() -> None:
    assert Key({"size": (192, 256)}).digest == Key({"size": [192, 256]}).digest


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, {1, 2}, b"bytes", Path("x"), object(), Inner(), np.float32(1), np.arange(2), 1j],
    ids=lambda value: type(value).__name__ + str(value)[:4],
)
def test_what_is_no_json_is_refused_with_advice(value: object) -> None:
    for document in ({"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(ConfigurationError, match="JSON values only") as caught:
            _ = Key(document).digest
        assert "plain fields" in caught.value.fix


@pytest.mark.parametrize("name", [1, None, True, 0.5, (1, 2)])
def test_names_are_strings(name: object) -> None:
    # JSON would turn 1 into "1"; read back, the entry would seem to belong to another key.
    with pytest.raises(ConfigurationError, match="JSON values only"):
        _ = Key({"a": [{name: 1}]}).digest


def test_a_document_that_holds_itself_is_refused() -> None:
    document: dict[str, Any] = {}
    document["again"] = [document]
    with pytest.raises(ConfigurationError, match="JSON values only"):
        _ = Key(document).digest


# --- configurations -------------------------------------------------------------------------------------------------


def test_a_configuration_is_its_class_version_and_every_field() -> None:
    module = Outer.__module__
    assert document_of(Outer(steps=(Inner(radius=1.0),))) == {
        "class": f"{module}.Outer",
        "version": 1,
        "fields": {
            "epsilon": 2 / 255,
            "sizes": [3, 5],
            "inner": {"class": f"{module}.Inner", "version": 3, "fields": {"radius": 0.5}},
            "steps": [{"class": f"{module}.Inner", "version": 3, "fields": {"radius": 1.0}}],
        },
    }


def test_fields_versions_and_nested_fields_change_the_key() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Raised(Outer):
        version: ClassVar[int] = 2

    Raised.__module__, Raised.__qualname__ = Outer.__module__, Outer.__qualname__
    found = {
        Key(document_of(configuration)).digest
        for configuration in (Outer(), Outer(epsilon=0.1), Outer(inner=Inner(radius=1)), Outer(sizes=(5, 3)), Raised())
    }
    assert len(found) == 5
    assert Key(document_of(Outer())).digest == Key(document_of(Outer(epsilon=2 / 255))).digest


def test_contents_stand_for_the_fields_that_name_files() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Reading(Inner):
        path: str = "/here"
        digest: ClassVar[str] = "a" * 64

        @property
        def contents(self) -> dict[str, Any]:
            return {"path": [["net.pth", self.digest]]}

    class Changed(Reading):
        digest: ClassVar[str] = "b" * 64

    Changed.__qualname__ = Reading.__qualname__
    assert document_of(Reading(path="/there"))["fields"] == {"radius": 0.5, "path": [["net.pth", "a" * 64]]}
    assert document_of(Reading(path="/there")) == document_of(Reading())
    assert document_of(Changed()) != document_of(Reading())
    nested = document_of(Outer(inner=Reading()))["fields"]["inner"]
    assert nested == document_of(Reading())


@pytest.mark.parametrize("configuration", [Unversioned(), object(), 3, Outer(inner=Unversioned())])  # type: ignore[arg-type]
def test_what_has_no_version_is_refused_and_named(configuration: object) -> None:
    culprit = "Unversioned" if isinstance(configuration, Outer) else type(configuration).__name__
    with pytest.raises(ConfigurationError, match=f"{culprit} cannot be part of a store key") as caught:
        document_of(configuration)
    assert "version: ClassVar[int]" in caught.value.fix


def test_a_field_without_a_json_form_is_refused_when_the_key_is_made() -> None:
    class Colour(enum.Enum):
        RED = 1

    with pytest.raises(ConfigurationError, match="Colour"):
        _ = Key(document_of(Outer(epsilon=Colour.RED))).digest  # type: ignore[arg-type]
