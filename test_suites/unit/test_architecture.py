"""The house stands: imports go to lower layers only, files stay small, the plugin stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import iqa_robustness

ROOT = Path(iqa_robustness.__file__).parent
LAYERS = (
    {"images", "streams", "similarity", "jpeg", "encoders", "errors", "registry", "compat", "axes"},
    {"metrics", "datasets", "measures", "store"},
    {"attacks", "defenses"},
    {"bench", "gate"},
    {"training", "reporting", "conformance"},
    {"plugin", "cli", "submission"},
)
# The console script is the last layer's; the package itself names the others lazily.
UNLAYERED = {"__init__", "__main__"}
LONGEST = 400


def layer_of(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """First-level parts of the package that a module imports, also inside functions and for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name.split(".")[1] for name in names if name.startswith("iqa_robustness.")}
    return found & set().union(*LAYERS)


@pytest.mark.parametrize(
    "path", [p for p in modules() if part_of(p) not in UNLAYERED], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_go_to_lower_layers_only(path: Path) -> None:
    part = part_of(path)
    for other in imported_parts(path) - {part}:
        if layer_of(part) == 0 and layer_of(other) == 0:
            continue
        assert layer_of(other) < layer_of(part), (
            f"{path.relative_to(ROOT)} imports {other}: {part} is in layer {layer_of(part) + 1}, {other} in layer "
            f"{layer_of(other) + 1}. Move what both need into a lower layer."
        )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_hold_one_concept(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{path.name} has {lines} lines; split it along a seam that a reader would name"


def test_every_part_has_a_layer() -> None:
    assert {part_of(path) for path in modules()} - UNLAYERED == set().union(*LAYERS)


def test_the_package_and_its_plugin_import_without_torch() -> None:
    check = "import sys, iqa_robustness, iqa_robustness.plugin, iqa_robustness.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_importing_has_no_side_effects_on_torch() -> None:
    check = (
        "import torch; before = torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed();"
        "import iqa_robustness.bench.runners.local, iqa_robustness.reporting.run, iqa_robustness.training;"
        "assert before == (torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed())"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_public_names_are_the_documented_ones() -> None:
    """Others build on these; changing one is a deliberate act with a changelog line."""
    import iqa_robustness as ir

    assert ir.__all__ == ["attacks", "datasets", "defenses", "measures", "metrics"]
    for part in (ir.metrics, ir.attacks, ir.defenses):
        assert callable(part.create)
        assert all(entry.name for entry in part.list())
    assert callable(ir.datasets.load)
    assert set(ir.measures.__all__) >= {
        "certified_radius",
        "d_score",
        "gain",
        "median_ranks",
        "q_score",
        "srocc",
    }
