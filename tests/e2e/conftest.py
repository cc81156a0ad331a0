"""A lab for every module: a root, a controller, a network, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.process import World


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose processes find the lab by their variables."""
    world = World(tmp_path_factory.mktemp("lab"))
    with world.running("lab", "up", "--state", str(world.folder / "lab")) as running:
        ready = running.wait_ready()
        world.variables = {"ZT_NETWORK": ready["network"], "ZT_PLANET": ready["planet"]}
        yield world
