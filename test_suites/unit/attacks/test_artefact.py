"""Artefacts: what a file says of itself, and that nothing but its bytes identifies it."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from iqa_robustness.attacks.artefact import Artefact, packed
from iqa_robustness.errors import ArtefactError, ConfigurationError
from iqa_robustness.store import document_of

FACTS = {"attack": "uap", "version": 1, "direction": "raise"}


def file(*values: float, **facts: object) -> bytes:
    return packed({"perturbation": torch.tensor(values), "other": torch.ones(2, 3)}, {**FACTS, **facts})


def test_what_is_packed_is_read_back() -> None:
    artefact = Artefact(data=file(0.5, -1.0))
    tensors = artefact.tensors()
    assert sorted(tensors) == ["other", "perturbation"]
    assert tensors["perturbation"].tolist() == [0.5, -1.0]
    assert dict(artefact.facts) == FACTS


def test_other_programs_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file(0.25))
    with safe_open(path, framework="np") as found:
        assert json.loads(found.metadata()["facts"]) == FACTS
        assert found.get_tensor("perturbation").tolist() == [0.25]


def test_equal_content_gives_equal_bytes_in_any_order() -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.zeros(2), "c": torch.ones(1)}
    turned = {name: tensors[name] for name in reversed(tensors)}
    assert packed(tensors, FACTS) == packed(turned, {name: FACTS[name] for name in reversed(FACTS)})


def test_gradients_views_and_memory_orders_are_left_behind() -> None:
    plain = torch.arange(48.0).reshape(1, 3, 4, 4)
    variants = (
        plain.clone().requires_grad_(True),
        torch.cat([plain, plain])[1:],
        plain.contiguous(memory_format=torch.channels_last),
    )
    assert {packed({"t": tensor}, FACTS) for tensor in variants} == {packed({"t": plain}, FACTS)}


def test_the_digest_of_the_bytes_is_all_that_identifies_it() -> None:
    data = file(1.0)
    one, same, other = Artefact(data=data), Artefact(data=data), Artefact(data=file(1.0, direction="lower"))
    digest = hashlib.sha256(data).hexdigest()
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert repr(one) == f"Artefact(sha256='{digest}')"
    assert document_of(one)["fields"] == {"sha256": digest}


def test_a_copy_has_the_tensors() -> None:
    one = copy.deepcopy(Artefact(data=file(2.0)))
    assert one.tensors()["perturbation"].tolist() == [2.0]


def test_it_does_not_change_with_what_is_made_of_its_tensors() -> None:
    artefact = Artefact(data=file(1.0, 2.0))
    artefact.tensors()["more"] = torch.zeros(1)
    assert sorted(artefact.tensors()) == ["other", "perturbation"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x89PNG\r\n\x1a\n and more", id="another format"),
        pytest.param(file(1.0)[:-1], id="cut short"),
        pytest.param(packed({"t": torch.ones(1)}, {"attack": "uap", "version": 1}), id="no direction"),
        pytest.param(packed({"t": torch.ones(1)}, {}), id="no facts"),
    ],
)
def test_what_is_no_artefact_is_refused_with_the_command_that_makes_one(data: bytes) -> None:
    with pytest.raises(ArtefactError, match="no trained artefact") as caught:
        Artefact(data=data)
    assert "iqa-robustness train attack" in caught.value.fix
    assert isinstance(caught.value, ConfigurationError)


def test_weights_of_something_else_are_refused() -> None:
    from safetensors.torch import save

    with pytest.raises(ArtefactError):
        Artefact(data=save({"perturbation": torch.ones(2)}, metadata={"metric": "compact"}))


@given(st.binary(max_size=200))
def test_no_bytes_lead_to_another_error(data: bytes) -> None:
    with pytest.raises(ArtefactError):
        Artefact(data=data)


def test_a_file_is_named_where_it_cannot_be_read(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(file(1.0)[:-3])
    for path in (damaged, tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(ArtefactError) as caught:
            Artefact.read(path)
        assert caught.value.where.file == str(path)
