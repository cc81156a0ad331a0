"""Fixtures for tests of applications: `pytest_plugins = ["overlay.pytest_plugin"]`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from overlay.testing import run_pair


@pytest.fixture
def overlay_pair() -> Callable[..., float]:
    """Run `script(a, b)` with two nodes in memory and virtual time; see overlay.testing."""
    return run_pair
