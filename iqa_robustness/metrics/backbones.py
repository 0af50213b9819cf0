"""Backbones from torchvision and timm, imported only when a metric that needs them is made."""

from __future__ import annotations

from typing import Any

from torch import nn

from iqa_robustness.compat import ensure_torchvision
from iqa_robustness.errors import ConfigurationError, Where

FIX = "pip install 'iqa-robustness[pyiqa]'"


def torchvision_model(name: str, *, metric: str, **options: Any) -> nn.Module:
    """A model of `torchvision.models` with random weights; nothing is fetched.

    Raises:
        ConfigurationError: torchvision is not installed, or cannot be imported.
    """
    try:
        ensure_torchvision()
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise _lacking("torchvision", metric, error) from error
    model: nn.Module = models.get_model(name, weights=None, **options)
    return model


def timm_model(name: str, *, metric: str, **options: Any) -> nn.Module:
    """A model of timm with random weights; nothing is fetched.

    Raises:
        ConfigurationError: timm or the torchvision it stands on is not installed, or cannot be imported.
    """
    try:
        ensure_torchvision()
        import timm
    except (ImportError, RuntimeError) as error:
        raise _lacking("timm", metric, error) from error
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _lacking(package: str, metric: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"metric {metric!r} stands on {package}, which cannot be imported: {error}",
        where=Where(metric=metric),
        fix=FIX,
    )
