"""What the fixture `zt_lab` is: starts labs, and stops them after the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, Unpack

from ztstack.sockets.background import Background
from ztstack.testing.lab import BlockingLab, NodeLab


class LabSettings(TypedDict, total=False):
    """The settings of NodeLab that a test chooses."""

    nodes: int
    loss: float
    latency: float | str
    relay_only: bool
    seed: int


class LabFactory:
    """`zt_lab(nodes=2)` is a running lab of blocking nodes; `zt_lab.running(...)` is for asyncio.

    The settings are those of NodeLab: `nodes`, `loss`, `latency`, `relay_only`, `seed`.
    """

    def __init__(self, folder: Callable[[], Path], identities: Path | None = None) -> None:
        self._folder = folder
        self._identities = identities
        self._loop: Background | None = None
        self._labs: list[BlockingLab] = []

    def __call__(self, **settings: Unpack[LabSettings]) -> BlockingLab:
        """Start a lab; the fixture stops it after the test."""
        if self._loop is None:
            self._loop = Background()
        started = BlockingLab.start(self.running(**settings), self._loop)
        self._labs.append(started)
        return started

    def running(self, **settings: Unpack[LabSettings]) -> NodeLab:
        """Return a lab for `async with`."""
        return NodeLab(self._folder(), identities=self._identities, **settings)

    def stop(self) -> None:
        """Stop what was started by calling."""
        labs, self._labs = self._labs, []
        try:
            for lab in reversed(labs):
                lab.stop()
        finally:
            if self._loop is not None:
                self._loop.stop()
                self._loop = None
