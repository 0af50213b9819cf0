"""`pyiqa:NAME`: a no-reference metric of IQA-PyTorch under this package's contract."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from iqa_robustness.compat import ensure_torchvision
from iqa_robustness.errors import ConfigurationError, Where
from iqa_robustness.metrics import pyiqa_table
from iqa_robustness.metrics.base import Access, Metric, MetricSpec, WeightsFile
from iqa_robustness.metrics.offline import Guard, guarded
from iqa_robustness.metrics.probe import probe_images
from iqa_robustness.metrics.pyiqa_missing import missing_file
from iqa_robustness.metrics.weights import sha256_of

LICENCE = "PolyForm-Noncommercial-1.0.0"


class PyIQA(Metric):
    """A metric of IQA-PyTorch (`pyiqa`), by the name in its own table.

    Source: Chen and Mo, IQA-PyTorch, 2022, https://github.com/chaofengc/IQA-PyTorch; installed by the extra `pyiqa`,
    licensed for non-commercial use. The library's code runs unchanged, through its own wrapper.
    Images: (N, 3, H, W) float32 RGB in [0, 1], clamped to it; sizes as the metric takes them (`liqe` from 224 × 224).
    Scores: in the metric's units. Direction and range are the table's, whose ends are rough: declare `score_range` from
    a calibration where the width matters.
    Gradients: on only for images that require them, so a query builds no graph; whether there are any is measured once
    on one image of 224 × 256 (one forward, one backward) and decides `spec.access`, unless `access` is given.
    Weights: from the library's caches. Nothing is downloaded unless `download`, and never with HF_HUB_OFFLINE=1.
    Unpickling its files runs code in them: trust their origin.
    Identity: the version of pyiqa, and SHA-256 of the files that the constructor read.

    Args:
        name: as `pyiqa.list_models('NR')` lists it.
        score_range: (low, high), instead of the table's.
        access: `white-box` or `query-only`, instead of the measurement.
        download: let the library fetch missing files now.
        options: passed to the library's `create_metric`, for one `pretrained_model_path=` or `test_sample=`.

    Raises:
        ConfigurationError: pyiqa is absent; the metric needs a reference, a caption or a set; its range is open and
            none is given; it cannot be constructed.
        UnknownNameError: pyiqa has no such metric.
        WeightsError: a file is missing; it says which one and where it is looked for.
    """

    def __init__(
        self,
        name: str,
        *,
        score_range: tuple[float, float] | None = None,
        access: Access | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.model: Any
        row = pyiqa_table.row(name)
        bounds = score_range or row.score_range
        if bounds is None:
            raise ConfigurationError(
                f"pyiqa's metric {name!r} has no finite score range: its table says {row.stated!r}",
                where=Where(metric=f"pyiqa:{name}"),
                fix=f"declare one from a calibration, PyIQA({name!r}, score_range=(low, high)), in a function of your "
                "own package, and name that: --iqa-metric my_package.module:function",
            )
        self.model, guard = _built(name, options, download=download)
        self.eval().requires_grad_(False)
        measured = access or self._measured(name, download=download)
        self.spec = MetricSpec(
            name=f"pyiqa:{name}",
            score_range=bounds,
            higher_is_better=row.higher_is_better,
            version=f"pyiqa {pyiqa_table.version()}",
            input_policy="as pyiqa's code does it",
            licence=LICENCE,
            paper="https://github.com/chaofengc/IQA-PyTorch",
            weights=tuple(WeightsFile(name=path.name, sha256=sha256_of(path)) for path in guard.read),
            access=measured,
        )

    def forward(self, images: Tensor) -> Any:
        """(N, 3, H, W) to (N,)."""
        # The wrapper switches gradients to `as_loss`, on as well as off, whatever mode its caller is in.
        self.model.as_loss = torch.is_grad_enabled() and images.requires_grad
        # It refuses what lies outside [0, 1] by 1e-6, and a noised or resized image may.
        scores = self.model(images.clamp(0, 1))
        if isinstance(scores, tuple | list):
            scores = scores[0]
        return _one_each(scores, images)

    def train(self, mode: bool = True) -> PyIQA:
        """Set the mode, also of networks that the library keeps in lists, where torch does not see them."""
        super().train(mode)
        for network in _hidden(self):
            network.train(mode)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> PyIQA:
        """Freeze or unfreeze, hidden networks too."""
        super().requires_grad_(requires_grad)
        for network in _hidden(self):
            network.requires_grad_(requires_grad)
        return self

    def _measured(self, name: str, *, download: bool) -> Access:
        image = probe_images()[:1].requires_grad_(True)
        with torch.enable_grad():
            try:
                with guarded(download=download):  # some networks fetch what they need when they first score
                    scores = self(image)
            except Exception as error:
                missing = missing_file(error, Where(metric=f"pyiqa:{name}"))
                if missing is None:
                    raise
                raise missing from error
            if not scores.requires_grad:
                return "query-only"
            try:
                (gradient,) = torch.autograd.grad(scores.sum(), image, allow_unused=True)
            except RuntimeError:  # an operation without a derivative
                return "query-only"
        usable = gradient is not None and bool(torch.isfinite(gradient).all()) and bool(gradient.any())
        return "white-box" if usable else "query-only"


def _built(name: str, options: dict[str, Any], *, download: bool) -> tuple[nn.Module, Guard]:
    """The library's wrapper in float32 on the CPU, and what was read for it; its chatter is dropped."""
    where = Where(metric=f"pyiqa:{name}")
    refused = {"as_loss", "loss_reduction", "loss_weight", "device", "check_input_range", "metric_mode"} & {*options}
    if refused:
        raise ConfigurationError(
            f"the options {', '.join(sorted(refused))} belong to the adapter", where=where, fix="leave them out"
        )
    try:
        ensure_torchvision()
        import pyiqa
    except Exception as error:  # it imports a hundred packages
        raise ConfigurationError(
            f"pyiqa is installed and cannot be imported: {type(error).__name__}: {error}",
            where=where,
            fix="pip install 'iqa-robustness[pyiqa]'",
        ) from error
    try:
        with (
            guarded(download=download) as guard,
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            model: nn.Module = pyiqa.create_metric(
                name, as_loss=False, loss_reduction="none", device="cpu", check_input_range=False, **options
            )
        return model, guard
    except Exception as error:  # every network has its own ways to fail
        missing = missing_file(error, where)
        if missing is not None:
            raise missing from error
        raise ConfigurationError(
            f"pyiqa cannot construct {name!r}: {type(error).__name__}: {error}",
            where=where,
            fix=f"try it alone: python -c \"import pyiqa; pyiqa.create_metric('{name}', device='cpu')\"",
        ) from error


def _one_each(scores: Any, images: Tensor) -> Any:
    """(N,), (N, 1), (N, 1, 1) or, for one image, a scalar to (N,); anything else as it is, for the scorer to refuse."""
    count = len(images)
    if isinstance(scores, Tensor) and scores.numel() == count and (scores.ndim == 0 or scores.shape[0] == count):
        return scores.reshape(count).to(images.dtype)
    return scores


def _hidden(module: nn.Module) -> Iterator[nn.Module]:
    """Networks in plain lists of a module's submodules."""
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, list | tuple):
                yield from (entry for entry in value if isinstance(entry, nn.Module))
