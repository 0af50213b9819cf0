"""What the package's own tests share: cells and records made by hand, small and entirely known."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from iqa_robustness.bench.cell import Cell
from iqa_robustness.compat import ensure_torchvision
from iqa_robustness.store import Record

# Properties are about values; how long an example takes depends on what else the machine does. Every change is judged
# on the same examples; `make test-slow` looks for new ones.
settings.register_profile("iqa", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "iqa"))


@pytest.fixture(autouse=True, scope="session")
def _process_of_one_thread() -> None:
    """Also for what modules share."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Bits are promised for one thread only, and some tests ask for another number."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """The package, imported as the metrics import it; its tests are skipped where it is not installed."""
    try:
        ensure_torchvision()
    except ImportError:
        pytest.skip("torchvision is not installed")
    import torchvision

    return torchvision


@pytest.fixture(scope="session")
def diffusion() -> None:
    """For tests of diffusion models, which are skipped where the extra is not installed."""
    from iqa_robustness.defenses.purification.networks.noise_model import diffusers
    from iqa_robustness.errors import CapabilityError

    try:
        diffusers()
    except CapabilityError:
        pytest.skip("diffusers is not installed")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of an S3 server in this process."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`s3://…` of an empty bucket; server and credentials stand in the environment, as they do elsewhere."""
    import botocore.session
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wholly-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"stores-{uuid.uuid4().hex[:8]}"
    botocore.session.get_session().create_client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def make_cell() -> Callable[..., Cell]:
    """A cell with small sizes; keyword arguments replace its fields."""

    def make(**fields: Any) -> Cell:
        known: dict[str, Any] = {
            "metric": "compact",
            "defense": "flip",
            "attack": "ifgsm",
            "strength": "medium",
            "scenario": "nonadaptive",
            "dataset": "mini",
            "images": 60,
            "size": (192, 256),
            "queries": 300,
            "draws": 2,
            "n0": 20,
            "n": 200,
        }
        return Cell(**{**known, **fields})

    return make


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """A record of a metric that withstands a working attack: 60 images of 20 contents, diam 100, shifts of 1 %.

    Keyword arguments: sizes and facts below; every other name is a column (a scalar or one value an image).
    """

    def make(
        *,
        images: int = 60,
        contents: int = 20,
        scenario: str = "nonadaptive",
        goal: str = "raise",
        kind: str = "purification",
        form: str = "median",
        resolution: int | None = None,
        attack_access: str = "white-box",
        metric_access: str = "white-box",
        differentiable: bool = True,
        higher_is_better: bool = True,
        score_range: tuple[float, float] = (0.0, 100.0),
        dataset: str = "folder:/photos",
        trace: tuple[float, ...] = (0.0, 0.1, 0.2),
        restriction: str = "linf",
        limit: float = 2 / 255,
        proof: tuple[float, ...] = (40.0, 42.0, 44.0, 46.0, 48.0, 50.0, 52.0, 54.0),
        **columns: Any,
    ) -> Record:
        rank = np.arange(images)
        quality = np.linspace(20, 80, images) if higher_is_better else np.linspace(80, 20, images)
        moved = quality + np.where(rank % 2, 1.0, 0.9) * (1 if higher_is_better else -1)
        table: dict[str, Any] = {
            "id": [f"image-{number}" for number in rank],
            "content": [f"scene-{number % contents}" for number in rank],
            "mos": np.linspace(1, 5, images),
            "clean": quality,
            "attacked": moved,
            "defended_clean": quality,
            "defended_attacked": moved,
            "defended_clean_again": np.nan,
            "defended_adaptive": moved if scenario == "adaptive" else np.nan,
            "defended_transferred": moved if scenario == "adaptive" else np.nan,
            "defended_queried": np.nan,
            "worst_source": "adaptive" if scenario == "adaptive" else "",
            "placebo": quality + 0.1,
            "clean_jpeg": quality - 3,
            "attacked_jpeg": moved - 3,
            "clean_resize": quality + 2,
            "attacked_resize": quality + 2,
            "ssim": 0.98,
            "psnr": 40.0,
            "linf": 2 / 255,
            "l2": 1.5,
            "ssim_purified": 0.95,
            "psnr_purified": 38.0,
            "entrant": True,
            "forwards": 10,
            "backwards": 10,
            "gradient_finite": True,
            "gradient_nonzero": True,
            "responded": True,
            "clean_lower": np.nan,
            "clean_upper": np.nan,
            "attacked_lower": np.nan,
            "attacked_upper": np.nan,
            "attacked_lower_familywise": np.nan,
            "attacked_upper_familywise": np.nan,
            "radius": np.nan,
            "radius_familywise": np.nan,
            "clean_radius": np.nan,
            "abstained": False,
            "clean_abstained": False,
            "clean_class": -1,
            "attacked_class": -1,
            "clean_votes": 0,
            "attacked_votes": 0,
            "attacked_samples": 0,
            "estimate_lower": np.nan,
            "estimate_upper": np.nan,
            "broken": False,
        }
        if kind == "certified":
            table |= {"radius": 0.05, "radius_familywise": 0.04, "clean_radius": 0.05, "attacked_samples": 200}
            if form == "classification":
                table |= {"clean_class": 5, "attacked_class": 5, "clean_votes": 190, "attacked_votes": 180}
            else:
                table |= {"attacked_lower": moved - 2, "attacked_upper": moved + 3}
                table |= {"attacked_lower_familywise": moved - 3, "attacked_upper_familywise": moved + 5}
                table |= {"estimate_lower": moved - 1, "estimate_upper": moved + 1}
        if scenario == "soundness":
            table |= {"l2": 0.05}
        unknown = set(columns) - set(table)
        assert not unknown, f"no such column: {unknown}"
        meta: dict[str, Any] = {
            "cell": {"scenario": scenario, "goal": goal},
            "metric": {
                "score_range": [*score_range],
                "higher_is_better": higher_is_better,
                "access": metric_access,
                "differentiable": differentiable,
            },
            "defense": {"kind": kind},
            "dataset": {"name": dataset, "mos_kind": "human"},
        }
        if kind == "certified":
            meta["certificate"] = {"form": form, "n": 200, "alpha": 0.001, "looks": 1, "resolution": resolution}
        if scenario not in ("clean", "soundness"):
            meta["attack"] = {"access": attack_access, "trace": [*trace], "restriction": restriction, "limit": limit}
            meta["attack"] |= {"encoders": ["lossless"]}
            meta["proof"] = {"gains": [*proof], "contents": [f"scene-{n}" for n in range(len(proof))]}
        return Record(images=pd.DataFrame({**table, **columns}), meta=meta)

    return make
