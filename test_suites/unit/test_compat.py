"""The torchvision shim, in processes of its own: what is imported once cannot be imported differently again."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REAL = """
    import json, torch
    from iqa_robustness.compat import ensure_torchvision

    found = [ensure_torchvision(), ensure_torchvision()]
    import torchvision
    from torchvision import models, transforms

    picture = transforms.functional.resize(torch.rand(3, 32, 48), [16, 24], antialias=True)
    with torch.no_grad():
        scores = models.resnet18(weights=None).eval()(torch.rand(1, 3, 64, 64))
    try:
        torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)
        operators = True
    except (NotImplementedError, RuntimeError):
        operators = False
    print(json.dumps([found, [*picture.shape], [*scores.shape], operators]))
"""

# Stand-ins on the path decide what importing torchvision does; each is tried in the same process, from the start.
STAND_INS = """
    import importlib, json, sys
    from pathlib import Path
    from iqa_robustness import compat

    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "torchvision":
                raise ModuleNotFoundError("No module named 'torchvision'", name=name)

    def attempt():
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            return compat.ensure_torchvision()
        except (ImportError, RuntimeError) as error:
            return f"{type(error).__name__}: {error}"

    def attempt_with(*lines):
        package.joinpath("__init__.py").write_text("\\n".join(lines))
        package.joinpath("__pycache__").exists() and __import__("shutil").rmtree(package / "__pycache__")
        return attempt()

    found = {}
    sys.meta_path.insert(0, Block())
    found["absent"] = attempt()
    sys.meta_path.pop(0)

    sys.dont_write_bytecode = True
    package = Path(sys.argv[1], "torchvision")
    package.mkdir()
    package.joinpath("part.py").write_text("state = []")
    sys.path.insert(0, sys.argv[1])
    found["native"] = attempt_with("version = 1")
    found["other"] = attempt_with("raise RuntimeError('the driver is too old')")
    never = ("from torchvision import part", "raise RuntimeError('operator torchvision::new does not exist')")
    found["never"] = [attempt_with(*never), attempt_with(*never)]
    needs = (
        "import torch",
        "from torchvision import part",
        "if not hasattr(torch.ops.torchvision, 'nms') or not hasattr(torch.ops.torchvision, 'qnms'):",
        "    part.state.append('half imported')",
        "    raise RuntimeError('operator torchvision::nms does not exist')",
    )
    found["shim"] = attempt_with(*needs)
    found["left over"] = sys.modules["torchvision"].part.state
    found["again"] = compat.ensure_torchvision()
    print(json.dumps(found))
"""


def run(source: str, *arguments: str) -> object:
    command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder: Path = tmp_path_factory.mktemp("stand-ins")
    found = run(STAND_INS, str(folder))
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("torchvision")
def test_the_installed_torchvision_resizes_and_builds_models_afterwards() -> None:
    found, picture, scores, operators = run(REAL)  # type: ignore[misc]
    assert found in (["native", "native"], ["shim", "shim"])
    assert picture == [3, 16, 24]
    assert scores == [1, 1000]
    assert operators == (found[0] == "native")


def test_without_torchvision_the_error_is_an_import_error(stand_ins: dict[str, object]) -> None:
    assert stand_ins["absent"] == "ModuleNotFoundError: No module named 'torchvision'"


def test_a_working_torchvision_is_native(stand_ins: dict[str, object]) -> None:
    assert stand_ins["native"] == "native"


def test_another_failure_is_not_swallowed(stand_ins: dict[str, object]) -> None:
    assert stand_ins["other"] == "RuntimeError: the driver is too old"


def test_a_failure_that_declaring_operators_does_not_mend_stays_a_failure(stand_ins: dict[str, object]) -> None:
    # Also the second time: a shim that did not help must not be remembered as one.
    assert stand_ins["never"] == ["RuntimeError: operator torchvision::new does not exist"] * 2


def test_missing_operators_are_declared_and_the_import_starts_afresh(stand_ins: dict[str, object]) -> None:
    assert stand_ins["shim"] == "shim"
    assert stand_ins["left over"] == []


def test_calling_twice_is_fine(stand_ins: dict[str, object]) -> None:
    assert stand_ins["again"] == "shim"
