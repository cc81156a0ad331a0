"""What an application awaits: streams, listeners, datagram endpoints."""

from __future__ import annotations
