"""What pyproject.toml cannot say: a wheel brings the gates and the conformance suites, as `iqa_robustness.suites`."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SUITES = ("robustness", "conformance")


class BuildWithSuites(build_py):
    """Copies the suites of the checkout; an editable installation has the checkout itself."""

    def run(self) -> None:
        """Build the package, then what is beside it."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "iqa_robustness" / "suites"
        for name in SUITES:
            found = sorted(Path("test_suites", name).glob("*.py"))
            (target / name).mkdir(parents=True, exist_ok=True)
            for path in found:
                shutil.copy(path, target / name)
            (target / name / "__init__.py").touch()
        (target / "__init__.py").touch()


setup(cmdclass={"build_py": BuildWithSuites})
