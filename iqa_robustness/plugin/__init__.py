"""The pytest plugin, registered by the entry point `iqa_robustness`.

It is imported by every pytest run of the environment, so nothing here imports torch; a run that selects none of the
suites is left alone.
"""

from __future__ import annotations

import pytest

from iqa_robustness.plugin.collection import pytest_collection_modifyitems, pytest_generate_tests
from iqa_robustness.plugin.fixtures import cell, gate, pair
from iqa_robustness.plugin.options import MARKERS, pytest_addoption
from iqa_robustness.plugin.outcomes import is_worker, pytest_runtest_makereport, send_collection
from iqa_robustness.plugin.session import robustness_session

__all__ = [
    "cell",
    "gate",
    "pair",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; where reports arrive, listen to them."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if not is_worker(config):
        from iqa_robustness.plugin.cluster_run import ClusterRun
        from iqa_robustness.plugin.doubts import Doubts
        from iqa_robustness.plugin.summary import Summary

        config.pluginmanager.register(ClusterRun(config), "iqa_robustness_cluster_run")
        summary = Summary(robustness_session(config))
        config.pluginmanager.register(summary, "iqa_robustness_summary")
        config.pluginmanager.register(Doubts(summary.session, summary.outcomes), "iqa_robustness_doubts")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells the controller what it could not start with, and what it deselected or left out."""
    if is_worker(session.config):
        send_collection(session.config)
