"""Physical addresses as people write them."""

from __future__ import annotations


def colon_form(endpoint: str) -> str:
    """Write `192.0.2.1/9993` as `192.0.2.1:9993`, an IPv6 address in brackets."""
    host, _, port = endpoint.rpartition("/")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
