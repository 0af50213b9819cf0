"""Where diffusion models are kept: folders of diffusers, its hub's cache, or a checkpoint of guided-diffusion."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from iqa_robustness.defenses.purification.networks.guided_diffusion import converted, guided_network
from iqa_robustness.defenses.purification.networks.noise_model import NoiseModel, diffusers
from iqa_robustness.defenses.purification.networks.noise_schedule import NoiseSchedule, linear_betas
from iqa_robustness.errors import WeightsError
from iqa_robustness.metrics.checkpoint import SUFFIXES, load_strictly, read_checkpoint
from iqa_robustness.metrics.weights import WeightsEntry, entry_of, located

BUNDLED = Path(__file__).parent.parent / "bundled" / "diffpure"
CONFIG, SCHEDULER = "config.json", "scheduler_config.json"
TENSORS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
VARIANCES = ("fixed_small", "fixed_large", "learned_range")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The files of one model.

    tensors: safetensors or torch.save.
    config, scheduler: diffusers' descriptions; None for a checkpoint of guided-diffusion, which has none.
    """

    tensors: Path
    config: Path | None = None
    scheduler: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.tensors, self.config, self.scheduler) if path is not None)


def model_files(weights: str) -> ModelFiles:
    """The files that a name stands for; nothing is fetched.

    Args:
        weights: empty for the bundled model; a folder that diffusers saved, with `unet/` and `scheduler/` or all in
            one; a checkpoint of guided-diffusion's 256 × 256 model, or its bare name for the one in
            `metrics.weights.folder()`; or `owner/name` of a model that is in the hub's cache on this machine.

    Raises:
        WeightsError: there is no such thing, or a file is missing in it.
    """
    published = entry_of("diffpure")
    path = BUNDLED if not weights else Path(weights).expanduser()
    if path.is_dir():
        return _in_folder(path, published)
    if path.is_file():
        return ModelFiles(tensors=path)
    if weights == published.file:
        return ModelFiles(tensors=located("diffpure", file=published.file))
    if _HUB_ID.fullmatch(weights) and path.suffix not in SUFFIXES[:-1]:
        return _in_folder(_cached(weights, published), published)
    raise WeightsError(
        f"there is no file or folder {weights!r}",
        where=published.where(path),
        fix=f"give a folder of diffusers, owner/name of a model in the hub's cache, or {published.file}",
    )


def read_model(files: ModelFiles) -> NoiseModel:
    """The model, on the CPU, with float32 weights.

    Raises:
        WeightsError: a file cannot be read, is of another kind of model, or does not fit.
        CapabilityError: no diffusers.
    """
    entry = entry_of("diffpure")
    state = {name: value.float() for name, value in read_checkpoint(files.tensors, entry=entry).items()}
    if files.config is None or files.scheduler is None:
        network: Any = guided_network()
        load_strictly(network, converted(state, network.config), entry=entry, path=files.tensors)
        return NoiseModel(network, NoiseSchedule(linear_betas()), variance="learned_range")
    network = _network(files.config, entry)
    load_strictly(network, state, entry=entry, path=files.tensors)
    scheduler = _described(files.scheduler, entry)
    if scheduler.get("prediction_type", "epsilon") != "epsilon":
        raise WeightsError(
            f"the model predicts {scheduler['prediction_type']!r}",
            where=entry.where(files.scheduler),
            fix="give one that predicts the noise (`epsilon`)",
        )
    learned = network.config["out_channels"] == 6
    variance = scheduler.get("variance_type", "learned_range" if learned else "fixed_small")
    if variance not in VARIANCES or learned is not (variance == "learned_range"):
        raise WeightsError(
            f"variance_type {variance!r} beside {network.config['out_channels']} channels is not known here",
            where=entry.where(files.scheduler),
            fix=f"give one of {', '.join(VARIANCES)}",
        )
    try:
        betas = diffusers().DDPMScheduler.from_config(dict(scheduler)).betas.double().tolist()
    except (TypeError, ValueError, NotImplementedError) as error:
        raise WeightsError(
            f"diffusers makes no schedule of this: {error}", where=entry.where(files.scheduler), fix="see the file"
        ) from error
    return NoiseModel(network, NoiseSchedule(tuple(betas)), variance=variance)


def write_model(model: NoiseModel, folder: Path, *, facts: Mapping[str, str]) -> None:
    """Write a folder that diffusers reads: `scheduler/`, and `unet/` with float16 tensors, `facts` in their header."""
    unet, scheduler = folder / "unet", folder / "scheduler"
    for part in (unet, scheduler):
        part.mkdir(parents=True, exist_ok=True)
    network: Any = model.network
    network.save_config(unet)
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, str(unet / TENSORS[0]), metadata={"format": "pt", **facts})
    diffusers().DDPMScheduler(
        num_train_timesteps=len(model.schedule),
        beta_schedule="linear",
        beta_start=model.schedule.betas[0],
        beta_end=model.schedule.betas[-1],
        variance_type=model.variance,
    ).save_config(scheduler)


def _in_folder(folder: Path, entry: WeightsEntry) -> ModelFiles:
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    scheduler = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    tensors = next((unet / name for name in TENSORS if (unet / name).is_file()), unet / TENSORS[0])
    found = ModelFiles(tensors=tensors, config=unet / CONFIG, scheduler=scheduler / SCHEDULER)
    for path in found.paths:
        if not path.is_file():
            raise WeightsError(
                "the folder of the diffusion model lacks this file",
                where=entry.where(path),
                fix="give a folder as diffusers' save_pretrained writes it, with a network and a scheduler",
            )
    return found


def _cached(name: str, entry: WeightsEntry) -> Path:
    diffusers()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError) as error:
        raise WeightsError(
            f"{name!r} is neither a folder nor a model in the hub's cache on this machine",
            where=entry.where(),
            fix=f"fetch it once: `hf download {name}`",
        ) from error


def _described(path: Path, entry: WeightsEntry) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot read the description: {error}", where=entry.where(path), fix="see the file"
        ) from error
    return described if isinstance(described, dict) else {}


def _network(path: Path, entry: WeightsEntry) -> nn.Module:
    config = _described(path, entry)
    channels = config.get("in_channels"), config.get("out_channels")
    if config.get("_class_name") != "UNet2DModel" or channels not in ((3, 3), (3, 6)):
        raise WeightsError(
            f"this describes {config.get('_class_name')!r} with {channels[0]} channels in and {channels[1]} out",
            where=entry.where(path),
            fix="give a UNet2DModel of RGB images, with 3 channels in, and 3 or (with learned variance) 6 out",
        )
    try:
        network: nn.Module = diffusers().UNet2DModel.from_config(config)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"diffusers makes no network of this: {error}", where=entry.where(path), fix="see the file"
        ) from error
    return network
