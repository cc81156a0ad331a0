"""Known answers as test parameters: the folder is ZT_VECTORS, else tests/vectors."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("ZT_VECTORS") or Path(__file__).parents[1] / "vectors")


@cache
def load(file: str) -> dict[str, Any]:
    """Return the whole JSON object of one vector file."""
    with (FOLDER / file).open(encoding="utf-8") as stream:
        data: dict[str, Any] = json.load(stream)
    return data


def cases(file: str, *kinds: str, informational: bool = False) -> list[Any]:
    """Return the cases of these kinds as pytest parameters, marked so that the run counts them."""
    return [
        pytest.param(
            case,
            id=f"{file.removesuffix('.json')}-{number}-{case.get('kind')}",
            marks=pytest.mark.vector(file),
        )
        for number, case in enumerate(load(file)["cases"])
        if (not kinds or case.get("kind") in kinds)
        and (informational or not case.get("informational"))
    ]
