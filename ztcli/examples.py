"""Command lines to copy, which the help of a command ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "agent run": ("zt agent run -n lab", "zt agent run --ready-file ready --health 9080"),
    "agent start": ("zt agent start -n lab --idle-timeout 10m", "zt --profile ci agent start"),
    "agent stop": ("zt agent stop",),
    "agent status": ("zt agent status", "zt agent status --json"),
    "agent log": ("zt agent log",),
    "agent unit": ("zt agent unit -n lab > ~/.config/systemd/user/zt.service",),
    "config show": ("zt config show --origin", "ZT_NETWORK=lab zt --profile ci config show"),
    "config check": ("zt config check", "zt --config ./zt.toml config check --json"),
    "help": ("zt help call", "zt help network create", "zt help env"),
    "host add": ("zt host add db 10.121.15.99", "zt host add nas a1b2c3d4e5"),
    "host list": ("zt host list", "zt host list --json"),
    "host rm": ("zt host rm db",),
    "join": (
        "zt join lab=8056c2e21c000001 --once",
        "zt join lab --once --wait-auth 10m",
        "zt join lab --ephemeral --authorize --token-file ~/.zt-token --ready-file ready",
    ),
    "leave": ("zt leave lab", "zt leave 8056c2e21c000001 --forget"),
    "network alias": (
        "zt network alias lab 8056c2e21c000001",
        "zt network alias",
        "zt network alias --rm lab",
    ),
    "networks": ("zt networks", "zt networks --json"),
    "up": ("zt up", "zt up db web --ready-file ready", "zt up --dry-run"),
    "wait": (
        "zt wait --for ip --timeout 2m",
        "zt wait --for direct=db --for tcp=db:5432",
        "zt wait --for http=http://10.121.15.99:8080/healthz",
    ),
}


def epilog(name: str) -> str | None:
    """Return the last paragraph of the help of a command; None if it has no examples here."""
    found = EXAMPLES.get(name)
    if found is None:
        return None
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in found)))
