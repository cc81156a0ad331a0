"""Who looks on while frames go between the IP hosts of a node and its networks."""

from __future__ import annotations

from typing import Protocol

from ztstack.base.frame import Burst, Frame, FrameBatch
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId


class FrameTap(Protocol):
    """Sees every frame, a batch at a time, and keeps no view of what it is shown."""

    def batch_sent(self, now: int, network: NetworkId, source: Mac, batch: FrameBatch) -> None: ...

    def burst_received(
        self, now: int, network: NetworkId, ends: tuple[Mac, Mac], ethertype: int, burst: Burst
    ) -> None:
        """See packets between `ends`: the destination and the source."""

    def frame_received(self, now: int, network: NetworkId, frame: Frame) -> None: ...
