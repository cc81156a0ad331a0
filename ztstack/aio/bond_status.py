"""What a running node with several paths tells another process of the same owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ztstack.aio.json_socket import Json, JsonServer, ask_running
from ztstack.base.errors import StorageError
from ztstack.bonding.report import BondReport

_NAME: Final = "bonds"


class BondServer:
    """Tells the bonds of a running node on a socket in its state directory."""

    def __init__(self, state: Path, bonds: Callable[[], Sequence[BondReport]]) -> None:
        self._bonds = bonds
        self._socket = JsonServer(state, _NAME, self._answer)

    async def start(self) -> None:
        await self._socket.start()

    async def stop(self) -> None:
        await self._socket.stop()

    def _answer(self, _request: Json) -> dict[str, object]:
        return {"bonds": [bond.values() for bond in self._bonds()]}


async def running_bonds(state: Path) -> list[dict[str, object]] | None:
    """Return the bonds of the node that runs on a state directory; None if there is none.

    They look as `BondReport.values` makes them.
    """
    answer = await ask_running(state, _NAME, {})
    if answer is None:
        return None
    bonds = answer.get("bonds")
    if not isinstance(bonds, list):
        raise StorageError(f"{state}: the running node did not tell its bonds")
    return bonds
