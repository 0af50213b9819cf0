"""The pytest plugin, registered by the entry point `iqa_robustness`.

It is imported by every pytest run of the environment, so nothing here imports torch; a run that selects none of the
suites is left alone.
"""

from __future__ import annotations

import pytest

from iqa_robustness.plugin.allure_labels import pytest_runtest_teardown
from iqa_robustness.plugin.announcement import announce
from iqa_robustness.plugin.collection import pytest_collection_modifyitems, pytest_generate_tests
from iqa_robustness.plugin.devices import end_if_device_lost
from iqa_robustness.plugin.distribution import Distribution, has_workers
from iqa_robustness.plugin.fixtures import cell, gate, pair
from iqa_robustness.plugin.options import MARKERS, pytest_addoption
from iqa_robustness.plugin.outcomes import is_worker, pytest_runtest_makereport, send_collection
from iqa_robustness.plugin.placement import is_concerned, pytest_xdist_auto_num_workers, pytest_xdist_setupnodes
from iqa_robustness.plugin.plan_run import PLAN, PlanRun, is_asked
from iqa_robustness.plugin.session import robustness_session
from iqa_robustness.plugin.traps import refuse_traps

__all__ = [
    "cell",
    "gate",
    "pair",
    "pytest_addoption",
    "pytest_cmdline_main",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_runtest_teardown",
    "pytest_sessionfinish",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_setupnodes",
]


def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before anything is configured, and after pytest-xdist has counted its workers.

    A plan tells other plugins to keep quiet. What ends badly with workers is refused: allure-pytest deletes results
    when it is configured.
    """
    if is_asked(config):
        config.pluginmanager.register(PlanRun(config), PLAN)
    elif not is_worker(config) and has_workers(config) and is_concerned(config):
        refuse_traps(config)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; where reports arrive, listen to them."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if not is_worker(config) and not config.pluginmanager.hasplugin(PLAN):
        from iqa_robustness.plugin.cluster_run import ClusterRun
        from iqa_robustness.plugin.doubts import Doubts
        from iqa_robustness.plugin.summary import Summary

        config.pluginmanager.register(ClusterRun(config), "iqa_robustness_cluster_run")
        summary = Summary(robustness_session(config))
        config.pluginmanager.register(summary, "iqa_robustness_summary")
        config.pluginmanager.register(Doubts(summary.session, summary.outcomes), "iqa_robustness_doubts")
        if has_workers(config):
            distribution = Distribution(summary.session, summary.outcomes, summary.expected)
            config.pluginmanager.register(distribution, "iqa_robustness_distribution")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """A worker that lost its GPU ends here, before it begins another item: a fresh one takes that over."""
    if is_worker(item.config):
        end_if_device_lost(item.config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """A worker tells the controller which cells its items are, before it tells pytest-xdist their ids."""
    if is_worker(session.config):
        announce(session.config, session.items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells the controller what it could not start with, and what it deselected or left out."""
    if is_worker(session.config):
        send_collection(session.config)
