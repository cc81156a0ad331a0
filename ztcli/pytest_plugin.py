"""The fixture `zt_lab` for pytest, which finds it by the entry point of this package.

It stands here because importing it costs nothing: `ztstack` is loaded when a test asks for a lab.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def zt_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """Start labs by calling it: it is a ztstack.testing.factory.LabFactory."""
    from ztstack.testing.factory import LabFactory

    # Where pytest keeps things from run to run, unless that is switched off.
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    identities = cache.mkdir("zt_lab") if cache is not None else None
    factory = LabFactory(lambda: tmp_path_factory.mktemp("zt"), identities)
    yield factory
    factory.stop()
