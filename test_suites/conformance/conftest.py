"""What the conformance suites share: whom they look at, one thread as a cell has it, and the kit's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.bench.plan import parsed_patterns
from iqa_robustness.conformance import pictures
from iqa_robustness.conformance.check import Check, NotApplicable
from iqa_robustness.conformance.qualification import KINDS
from iqa_robustness.errors import ConfigurationError, ConformanceError
from iqa_robustness.metrics.weights import available
from iqa_robustness.plugin.options import value
from iqa_robustness.registry import Registry

HERE = Path(__file__).parent
REGISTRIES: dict[str, Registry[Any]] = {
    "metric": metrics.registry,
    "attack": attacks.registry,
    "defense": defenses.registry,
}
UNKNOWN = pytest.StashKey[str]()
# Three stand for all: a blur and its undoing, a random part before one without a gradient, parts that change the size.
COMPOSITIONS = ["gaussian-blur+unsharp", "random-noise+jpeg", "resize+color-quantization+flip"]
# Not registered, but the gates rest on it.
PLANTED = "iqa_robustness.metrics.planted:Vulnerable"


def registered(kind: str) -> list[str]:
    """Registered names that can work: what reads published weights that are not here takes no part."""
    works = {"metric": available, "attack": attacks.available, "defense": defenses.available}[kind]
    return [name for name in REGISTRIES[kind].names() if works(name)]


def asked_for(config: pytest.Config, kind: str) -> list[str]:
    """What `--iqa-metric`, `--iqa-attack` or `--iqa-defense` names; patterns select registered names."""
    registry, found = REGISTRIES[kind], []
    for pattern in parsed_patterns(value(config, kind)):
        try:
            found += registry.matching(pattern) or [registry.resolve(pattern).name]
        except ConfigurationError as error:
            config.stash[UNKNOWN] = str(error)  # here pytest would make a collection error of it
    return list(dict.fromkeys(found))


def kind_of(path: Path) -> str:
    """`metric` for test_metrics.py."""
    return path.stem.removeprefix("test_").removesuffix("s")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`name`: whom the run asks for, else every registered name. `registered`: those of them that are registered."""
    kind = kind_of(metafunc.definition.path)
    asked = bool(value(metafunc.config, kind))
    extra = {"metric": [PLANTED], "defense": COMPOSITIONS}.get(kind, [])
    names = asked_for(metafunc.config, kind) if asked else registered(kind) + extra
    if "registered" in metafunc.fixturenames:
        # A defense can be made without its weights, and what it declares be looked at.
        everyone = REGISTRIES[kind].names() if kind == "defense" and not asked else names
        names = [name for name in everyone if name in REGISTRIES[kind]]
        metafunc.parametrize("registered", names)
    elif "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names)
    if "check" in metafunc.fixturenames:
        metafunc.parametrize("check", KINDS[kind].checks, ids=lambda check: check.name.replace(" ", "-"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whoever names a metric, an attack or a defense asks about that kind alone."""
    if config.stash.get(UNKNOWN, ""):
        raise pytest.UsageError(config.stash[UNKNOWN])
    kinds = [kind for kind in KINDS if value(config, kind)]
    if not kinds:
        return
    dropped = [item for item in items if item.path.parent == HERE and not _wanted(item, kinds)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def _wanted(item: pytest.Item, kinds: list[str]) -> bool:
    empty = any(marker.name == "skip" for marker in item.iter_markers())  # none of those asked for is registered
    return kind_of(item.path) in kinds and not empty


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Bits are promised for one thread only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _subjects() -> dict[str, tuple[str, Any]]:
    """The last subject of each kind: only the last, since some hold networks."""
    return {}


@pytest.fixture
def subject(request: pytest.FixtureRequest, name: str, _subjects: dict[str, tuple[str, Any]]) -> Any:
    """Whom the test is about; tests of one name share it, and what it has computed."""
    kind = kind_of(request.path)
    if _subjects.get(kind, ("",))[0] != name:
        device = request.config.getoption("iqa_device") or "cpu"
        _subjects[kind] = (name, KINDS[kind].subject(name, device=device))
    return _subjects[kind][1]


@pytest.fixture
def keep() -> Callable[..., None]:
    """Try a check: it is kept, or does not apply where that may be; what is wrong is said without a traceback."""

    def keep(check: Check[Any], subject: Any, *, may_not_apply: bool) -> None:
        broken = absent = ""
        try:
            check.function(subject)
        except NotApplicable as reason:
            absent = str(reason)
        except ConformanceError as error:
            broken = str(error)
        if broken:
            pytest.fail(f"broken: {check.title}\n{broken}", pytrace=False)
        if absent:
            assert may_not_apply, f"{check.name!r} is said not to apply: {absent}"
            pytest.skip(f"does not apply: {absent}")

    return keep


@pytest.fixture(scope="session")
def photographs() -> Callable[..., Tensor]:
    """Undistorted photographs of the bundled data set, (count, 3, height, width) on the grid k/255."""
    return pictures.photographs
