"""Backbones come without weights and without the network, and a missing package is named."""

from __future__ import annotations

import builtins
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from iqa_robustness.errors import ConfigurationError
from iqa_robustness.metrics import backbones
from iqa_robustness.metrics.backbones import timm_model, torchvision_model


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a metric was made, and something went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline", "torchvision")
def test_a_torchvision_model_is_made_offline() -> None:
    assert torchvision_model("resnet18", metric="spaq", num_classes=1).fc.out_features == 1


@pytest.mark.usefixtures("offline", "torchvision")
def test_a_timm_model_is_made_offline() -> None:
    pytest.importorskip("timm")
    assert timm_model("resnet10t", metric="maniqa", num_classes=4).get_classifier().out_features == 4


@pytest.mark.parametrize(("make", "package"), [(torchvision_model, "torchvision"), (timm_model, "timm")])
def test_a_missing_package_is_a_configuration_error(
    make: Callable[..., Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(backbones, "ensure_torchvision", lambda: "native")
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ConfigurationError, match=f"'spaq' stands on {package}") as raised:
        make("resnet18", metric="spaq")
    assert "iqa-robustness[pyiqa]" in raised.value.fix
    assert raised.value.where.metric == "spaq"


@pytest.mark.parametrize("make", [torchvision_model, timm_model])
@pytest.mark.parametrize("kind", [ImportError, RuntimeError])
def test_a_torchvision_that_does_not_import_is_one_too(
    make: Callable[..., Any], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise kind("operator does not exist")

    monkeypatch.setattr(backbones, "ensure_torchvision", fail)
    with pytest.raises(ConfigurationError, match="operator does not exist"):
        make("resnet18", metric="spaq")


def test_the_modules_of_the_metrics_import_neither() -> None:
    check = (
        "import sys, importlib\n"
        "for name in 'fpr koncept linearity maniqa meta_iqa paq2piq spaq'.split():\n"
        "    importlib.import_module('iqa_robustness.metrics.' + name)\n"
        "sys.exit(any(name in sys.modules for name in ('torchvision', 'timm', 'pyiqa')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
