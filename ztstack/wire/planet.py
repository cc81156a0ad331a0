"""The official planet: the roots that a node knows without being told."""

from __future__ import annotations

import base64
from typing import Final

from ztstack.wire.world import World

# World 149604618 of 2022-02-11 as published with the official nodes.
_OFFICIAL: Final = (
    "AQAAAAAI6skKAAABfulXYM24s4ikaSIUkaqazWbMdkze/VYDnxBnrhXmnG+0LXtVMw4/2qxSnAeS/XNApqohq6ik"
    "if2upEo5vy0AZZrJyBjrNgCSdjfvTRQEpE1URoSFE3l1H6p5tMTqhQQBdeoGWGBIJALh6zQgUgAOYpAGGpvgzSk8"
    "i1Xxw9JSSAivxUkiCA41Oada3cPO8PatJg1YgpO7d4bnHvpLkFfa2YZ6/hLdBMr+nv65AMze92vHuX3tkE6rxd8J"
    "iG2cFRSmEANsuROcwhQAGilYl4787BVxLdOUjG5rOo6JPfAf9JPR+NmAaoYMVCBXG/AAAgRowgiGJwkGJgWYgAIA"
    "EgAAMAVxDjQAUScJd4zecZAAP2aBqZ5a0Ylen7oz5iEtRFThaLzscRIQG/AAlW7Y6S5CiSy28uxBCIGoSrGdpQ4S"
    "h7o9kmw6H3VczPKZoSBwVQACBGfDZ0InCQYmBZiABAAAwwJU8ryh9wAZJwli+GWucQDiB2xX3ocOYojX1edARAix"
    "VF78o31n93uH6eVBaMJdPvGpq/KQXqXnhcAd/yOIetQjLZXHqP0sJxEacr0VkyLcAAIEMgf8iicJBiABSfDQ2wAC"
    "AAAAAAAAAAInCcr+BOupAGxqnR3qVcFha/4qK48P+ajKyvcDdPsfOeO++By/6+8XtyKCaKCiop00iMdSVlxslly9"
    "ZQbsJDl8yKXZ0VKFqH8AAgRUETWbJwkGKgJuoNQFAAAAAAAAAACZkycJ"
)


def official_planet() -> World:
    """Return the official planet; DecodeError if its own key does not verify its signature."""
    world = World.parse(base64.b64decode(_OFFICIAL))
    world.verify(world.signer_key)
    return world
