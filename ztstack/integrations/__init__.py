"""A node under other libraries: httpx, requests, aiohttp, ASGI servers."""

from __future__ import annotations
