"""What every test of a command starts with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Zt


@pytest.fixture
def zt(tmp_path: Path) -> Zt:
    """A `zt` whose network is this machine's loopback."""
    return Zt(tmp_path)
