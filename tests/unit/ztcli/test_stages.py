"""What a person is told while a join takes its time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ztcli.stages import stage_of
from ztstack import Address, NetworkId, NetworkReport, NodeStatus

NETWORK = "8056c2e21c000001"
NODE = NodeStatus(Address(0xA1B2C3D4E5), True, "", "", (), (), (), {})


def status(word: str, *addresses: str) -> NodeStatus:
    report = NetworkReport(NetworkId.parse(NETWORK), "", word, "", False, "", 2800, addresses, ())
    return replace(NODE, networks=(report,))


@pytest.mark.parametrize(
    ("found", "stage", "word"),
    [
        (replace(NODE, online=False), "roots", "no root"),
        (NODE, "controller", "asking 8056c2e21c"),
        (status("REQUESTING_CONFIGURATION"), "controller", "asking 8056c2e21c"),
        (status("NOT_FOUND"), "controller", "NOT_FOUND"),
        (status("ACCESS_DENIED"), "authorised", "a1b2c3d4e5 is not authorised"),
        (status("OK"), "address", "no address"),
        (status("OK", "10.0.0.1/24"), "joined", "10.0.0.1/24"),
    ],
)
def test_stages(found: NodeStatus, stage: str, word: str) -> None:
    told = stage_of(found, NETWORK)
    assert told[0] == stage
    assert word in told[1]
