"""Several paths to one peer used as one."""

from __future__ import annotations
