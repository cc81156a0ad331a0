"""What is concluded from what roots tell of our addresses."""

from __future__ import annotations

import pytest

from ztstack.aio.netcheck import Nat, guess_nat
from ztstack.base.endpoint import Endpoint
from ztstack.vl1.surface import Sighting

OWN = "192.168.1.2/9993"
ROOTS = ("203.0.113.1/9993", "203.0.113.2/9993", "203.0.113.3/9993")


def seen(*claims: str, socket: int = 0) -> list[Sighting]:
    """Return what the roots say, one after the other."""
    return [
        Sighting(socket, Endpoint.parse(root), Endpoint.parse(claim))
        for root, claim in zip(ROOTS, claims, strict=False)
    ]


@pytest.mark.parametrize(
    ("sightings", "nat"),
    [
        ([], Nat.UNKNOWN),
        (seen(OWN), Nat.NONE),
        (seen(OWN, OWN), Nat.NONE),
        (seen("198.51.100.4/41211"), Nat.UNKNOWN),
        (seen("198.51.100.4/41211", "198.51.100.4/41211"), Nat.SAME_FOR_ALL),
        (seen("198.51.100.4/9993", "198.51.100.4/9993", "198.51.100.4/9993"), Nat.SAME_FOR_ALL),
        (seen("198.51.100.4/41211", "198.51.100.4/41212"), Nat.BY_DESTINATION),
        (seen("198.51.100.4/9993", "198.51.100.5/9993"), Nat.BY_DESTINATION),
        # Two sockets have two mappings; each has one observer, which tells nothing.
        (
            [*seen("198.51.100.4/1"), *seen("198.51.100.4/2", socket=1)],
            Nat.UNKNOWN,
        ),
        # One root is in our own network and sees us untranslated; the others decide.
        (seen(OWN, "198.51.100.4/41211", "198.51.100.4/41211"), Nat.SAME_FOR_ALL),
        # IPv6 passes as it is, IPv4 is translated: one observer of it is not enough.
        (seen("198.51.100.4/41211", "2001:db8::2/9993"), Nat.UNKNOWN),
    ],
)
def test_guess(sightings: list[Sighting], nat: Nat) -> None:
    own = {Endpoint.parse(OWN), Endpoint.parse("2001:db8::2/9993")}
    assert guess_nat(own, sightings) is nat
