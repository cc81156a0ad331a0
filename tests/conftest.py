"""Markers by folder, hypothesis profiles, and the count of vector cases that ran."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_FOLDER_MARKERS = ("sim", "interop", "netns", "e2e", "slow")
_ran: Counter[str] = Counter()
_simulated: list[str] = []

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", max_examples=5000, deadline=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim-seeds", type=int, default=100, help="worlds to simulate")
    parser.addoption("--sim-first-seed", type=int, default=0, help="seed of the first of them")
    parser.addoption("--member-seeds", type=int, default=1, help="large networks to simulate")
    parser.addoption(
        "--patience", type=float, default=1.0, help="factor of all limits, behind other work"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    patience = config.getoption("--patience")
    for item in items:
        if patience != 1.0:
            marker = item.get_closest_marker("timeout")
            limit = float(marker.args[0] if marker else config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(limit * patience), append=False)
        folder = item.path.relative_to(root).parts[0]
        if folder in _FOLDER_MARKERS:
            item.add_marker(getattr(pytest.mark, folder))


def pytest_runtest_call(item: pytest.Item) -> None:
    marker = item.get_closest_marker("vector")
    if marker is not None:
        item.user_properties.append(("vector", marker.args[0]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # What tests tell comes with their reports, from other processes as well.
    if report.when == "call":
        for name, value in report.user_properties:
            if name == "vector":
                _ran[str(value)] += 1
            elif name == "simulated":
                _simulated.append(str(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _simulated:
        terminalreporter.section("simulated worlds")
        for line in sorted(_simulated):
            terminalreporter.write_line(line)
    if _ran:
        terminalreporter.section("vector cases that ran")
        for file, count in sorted(_ran.items()):
            terminalreporter.write_line(f"{file}: {count}")
