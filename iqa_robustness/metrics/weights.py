"""Files of weights that this package reads but may not ship: their names, where they come from, where they are kept."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from iqa_robustness.errors import UnknownNameError, WeightsError, Where

FOLDER_VARIABLE = "IQA_ROBUSTNESS_WEIGHTS"
# These answer with a page for people (a warning, a script that decrypts), not with the file.
_PAGES = ("drive.google.com", "mega.nz", "surfdrive.surf.nl")


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """One published file.

    metric, attack, defense: the registered name it belongs to; the others are empty.
    variant: what of it reads the file, where its defaults do not (`x4plus` of `realesrgan`) or do without it (`fcn`).
    file: its name, as its authors publish it and as `folder()` keeps it.
    origin: an address: the file's own where it has one, else the page that offers it.
    sha256: hex digest; empty where the authors publish none and nobody has verified one.
    size: in bytes; 0 when unknown.
    licence: as its authors state it.
    """

    metric: str = ""
    attack: str = ""
    defense: str = ""
    variant: str = ""
    file: str
    origin: str
    sha256: str = ""
    size: int = 0
    licence: str = ""

    @property
    def owner(self) -> str:
        """The name of the metric, the attack or the defense."""
        return self.metric or self.attack or self.defense

    @property
    def kind(self) -> str:
        """Which of them it is."""
        return "metric" if self.metric else "attack" if self.attack else "defense"

    @property
    def by_hand(self) -> bool:
        """Whether the origin is a page for people rather than the file."""
        return urlsplit(self.origin).hostname in _PAGES

    def where(self, path: str | Path = "") -> Where:
        """The place of an error that has to do with this file, or with another one given for it."""
        return Where(metric=self.metric, attack=self.attack, defense=self.defense, file=str(path))


_LIVE_RELEASES = (
    "https://raw.githubusercontent.com/dsoellinger/blind_image_quality_toolbox/4d12c43c77bba538f684df0b62621e9350854c43"
)
_IDEALO = "https://github.com/idealo/image-quality-assessment/raw/master/models/MobileNet"
_REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"
_CSZN = "https://raw.githubusercontent.com/cszn"

_ENTRIES = (
    WeightsEntry(
        metric="brisque",
        file="brisque_allmodel",
        origin=f"{_LIVE_RELEASES}/%2Bbrisque/allmodel",
        sha256="8b04d6045f1b27261610c8ab1730fdcc14ec80bfab0f1ab5f703bbc2927314de",
        size=353_497,
        licence="LIVE",
    ),
    WeightsEntry(
        metric="brisque",
        file="brisque_allrange",
        origin=f"{_LIVE_RELEASES}/%2Bbrisque/allrange",
        sha256="e47d753d96b631e1aa2dbac8c4e51ade767f2def8ce678c7130b6b3f90ee915f",
        size=741,
        licence="LIVE",
    ),
    WeightsEntry(
        attack="cadv",
        file="siggraph17-df00044c.pth",
        origin="https://colorizers.s3.us-east-2.amazonaws.com/siggraph17-df00044c.pth",
        sha256="df00044c0a4d7c3edcecf6f75437ce346a66e7a42612d9b968e1a7e17dbc6f66",
        size=136_787_426,
        licence="BSD-2-Clause",
    ),
    WeightsEntry(
        metric="cnniqa",
        file="CNNIQA-LIVE",
        origin="https://raw.githubusercontent.com/lidq92/CNNIQA/fb36830fc6491ef8db2dc651aaad94cdbee131fa/models/CNNIQA-LIVE",
        sha256="79cc404d0da3e76e51b6680c4d6edd7332399ba7ed8af3306bdd16e95c7bda7e",
        size=2_900_940,
        licence="none stated",
    ),
    WeightsEntry(
        defense="diffpure",
        variant="256",
        file="256x256_diffusion_uncond.pt",
        origin="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt",
        licence="MIT",
    ),
    WeightsEntry(
        defense="disco",
        file="disco_pgd.pth",
        origin="https://drive.google.com/file/d/1kMjqPVmu1xNhmZdPf25BN9JQ0j9LBar5/view",
        licence="none stated",
    ),
    WeightsEntry(
        defense="dncnn",
        file="GD_Color_Blind.mat",
        origin=f"{_CSZN}/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a/model/GD_Color_Blind.mat",
        sha256="57db5437a44037e7675a99042fe7b14d3dcdf1c333d3ec665855566e8a59795c",
        size=2_763_713,
        licence="none stated",
    ),
    WeightsEntry(
        defense="dncnn",
        variant="sigma",
        file="FDnCNN_color.mat",
        origin=f"{_CSZN}/DnCNN/e93b27812d3ff523a3a79d19e5e50d233d7a8d0a/model/FDnCNN_color.mat",
        sha256="f92823de4227811aa603c849d2495722c54d17d51b3a9df2ac804976daf258c3",
        size=2_776_404,
        licence="none stated",
    ),
    WeightsEntry(
        defense="fcn",
        variant="published",
        file="fcn_mse.pth",
        origin="https://drive.google.com/drive/folders/1c6hC5cSfeNfi5-jMHwsyZqoH_QXURmB_",
        licence="MIT",
    ),
    WeightsEntry(
        defense="ffdnet",
        file="FFDNet_color.mat",
        origin=f"{_CSZN}/FFDNet/e787f46df2f374ff3591186706229cb9a0591fea/models/FFDNet_color.mat",
        sha256="a4b5a9da21294ab9ba6ed5c6cc459c46dff20c025eb7d3ab82e8e0bb00541793",
        size=3_373_400,
        licence="none stated",
    ),
    WeightsEntry(
        metric="fpr",
        file="model_best_kadid_0.pkl",
        origin="https://mega.nz/folder/iDxH3R6a#WF25kk1XD30fhlZeSPJzDA",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        metric="koncept",
        file="KonCept512.pth",
        origin="https://surfdrive.surf.nl/files/index.php/s/oeGv7wEyyMwwbIO",
        licence="MIT",
    ),
    WeightsEntry(
        metric="linearity",
        file="p1q2.pth",
        origin="https://drive.google.com/drive/folders/1H79ptqjcR4NH6HP4wLsEmqwhNqNNqXwh",
        licence="MIT",
    ),
    WeightsEntry(
        metric="maniqa",
        file="ckpt_koniq10k.pt",
        origin="https://github.com/IIGROUP/MANIQA/releases/download/Koniq10k/ckpt_koniq10k.pt",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        metric="meta-iqa",
        file="metaiqa.pth",
        origin="https://drive.google.com/file/d/19U_gHdK3Ld9uI23MABC14Pin9Vfw8AQM/view",
        licence="none stated",
    ),
    WeightsEntry(
        defense="mprnet",
        file="model_denoising.pth",
        origin="https://drive.google.com/file/d/1LODPt9kYmxwU98g96UrRA0_Eh5HYcsRw/view",
        licence="academic, non-commercial",
    ),
    WeightsEntry(
        metric="nima",
        file="weights_mobilenet_technical_0.11.hdf5",
        origin=f"{_IDEALO}/weights_mobilenet_technical_0.11.hdf5",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        metric="niqe",
        file="niqe_modelparameters.mat",
        origin=f"{_LIVE_RELEASES}/%2Bniqe/modelparameters.mat",
        sha256="fa2aa4d12dd9595c3fb6bf8b4e1a15c79d5d1469238d0901c88dead195be578d",
        size=8_347,
        licence="LIVE",
    ),
    WeightsEntry(
        metric="paq2piq",
        file="P2P_RoIPoolModel-fit.10.bs.120-ca69882e.pth",
        origin="https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/"
        "P2P_RoIPoolModel-fit.10.bs.120-ca69882e.pth",
        licence="MIT",
    ),
    WeightsEntry(
        defense="realesrgan",
        file="realesr-general-x4v3.pth",
        origin=f"{_REAL_ESRGAN}/v0.2.5.0/realesr-general-x4v3.pth",
        sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        size=4_885_111,
        licence="BSD-3-Clause",
    ),
    WeightsEntry(
        defense="realesrgan",
        file="realesr-general-wdn-x4v3.pth",
        origin=f"{_REAL_ESRGAN}/v0.2.5.0/realesr-general-wdn-x4v3.pth",
        sha256="1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        size=4_885_111,
        licence="BSD-3-Clause",
    ),
    WeightsEntry(
        defense="realesrgan",
        variant="animevideov3",
        file="realesr-animevideov3.pth",
        origin=f"{_REAL_ESRGAN}/v0.2.5.0/realesr-animevideov3.pth",
        sha256="b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        size=2_504_012,
        licence="BSD-3-Clause",
    ),
    WeightsEntry(
        defense="realesrgan",
        variant="x4plus",
        file="RealESRGAN_x4plus.pth",
        origin=f"{_REAL_ESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        size=67_040_989,
        licence="BSD-3-Clause",
    ),
    WeightsEntry(
        metric="spaq",
        file="BL_release.pt",
        origin="https://drive.google.com/file/d/1pXjXAIItViTFs7qUBY-b11WY50mzoVM2/view",
        licence="research and education only",
    ),
)

MANIFEST: Mapping[str, tuple[WeightsEntry, ...]] = MappingProxyType(
    {name: tuple(e for e in _ENTRIES if e.owner == name) for name in sorted({e.owner for e in _ENTRIES})}
)


def folder() -> Path:
    """Where fetched files are kept: `$IQA_ROBUSTNESS_WEIGHTS`, or a folder in the user's cache; it may not exist."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else _user_cache() / "iqa_robustness" / "weights"


def entry_of(owner: str, file: str = "") -> WeightsEntry:
    """A file that a metric or defense reads: the named one, else its first.

    Raises:
        UnknownNameError: it reads none, or none of this name.
    """
    try:
        entries = MANIFEST[owner]
    except KeyError:
        raise UnknownNameError("metric or defense with published weights", owner, MANIFEST) from None
    for entry in entries:
        if file in ("", entry.file):
            return entry
    raise UnknownNameError(f"file of {owner}", file, [entry.file for entry in entries])


def located(owner: str, given: str | Path | None = None, *, file: str = "") -> Path:
    """The file to read: the given one, else the owner's own (the named one, else its first) in `folder()`.

    Raises:
        WeightsError: there is no such file; the message says which one is needed and where it comes from.
    """
    entry = entry_of(owner, file)
    path = Path(given).expanduser() if given is not None else folder() / entry.file
    if path.is_file():
        return path
    fetch = "" if entry.by_hand else f"run `iqa-robustness weights fetch {owner}`; or "
    lacking = "is no file" if path.exists() else "does not exist"
    raise WeightsError(
        f"{entry.kind} {owner!r} needs the weights {entry.file}, which are not part of this package: {path} {lacking}",
        where=entry.where(path),
        fix=f"{fetch}get {entry.file} from {entry.origin} and give weights=PATH, or put it into {folder()} "
        f"(another folder: ${FOLDER_VARIABLE})",
    )


def available(owner: str) -> bool:
    """Whether a metric or defense works without `weights=`: it reads no published file, or its are in `folder()`."""
    return all((folder() / entry.file).is_file() for entry in MANIFEST.get(owner, ()) if not entry.variant)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
