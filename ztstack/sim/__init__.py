"""A network in a box: whole nodes, deterministic, seeded, in virtual time.

Datagrams cross links with delay, loss, duplicates, disorder and damage, and routers that translate
addresses. Nothing here waits, opens sockets or looks at a clock; the same seed gives the same run,
byte for byte. See `scenario.World` for the door.
"""

from __future__ import annotations
