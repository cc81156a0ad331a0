"""Rows of the benches that are programs of their own and print one JSON record."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from tests.bench.ends import Course, Row
from tests.support.zt_process import ROOT, ProcessFailure

SCRIPTS: Final = ("startup", "root", "controller", "rules", "forwarding", "bonding", "riding")
"""Those that have a target of their own in what they print, and no row of the table."""
_SECONDS: Final = 1800.0


def run_script(name: str, *options: str) -> dict[str, Any]:
    """Run `tests.bench.<name>` and return its record."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{name}", *options],
        capture_output=True,
        cwd=ROOT,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ProcessFailure(done.stderr.decode(errors="replace"))
    text = done.stdout.decode()
    record: dict[str, Any] = json.loads(text[text.index("{") :])
    return record


def connections(course: Course) -> list[Row]:
    """Idle connections and short ones; both ends share a core, so a run is one run."""
    del course
    record = run_script("connections")
    details: dict[str, object] = dict(record)
    idle, churn = float(record["idle_kb"]), float(record["churn_s"])
    left = f"left behind: {record['left_kb']} KB"
    return [
        Row("1,000 idle connections, each end", "KB", [idle], "<= 20", "", details),
        Row("10,000 opened and closed", "1/s", [churn], ">= 1000", left, details),
    ]


def cables(course: Course) -> list[Row]:
    """Each case of two cables with what it must keep to."""
    record = run_script("bonding_cables", "--runs", str(min(course.runs, 3)))
    return [
        Row(
            f"two cables: {name}",
            case["unit"],
            case["runs"],
            case["wanted"],
            "" if case["holds"] else "does not hold",
            case,
        )
        for name, case in record.items()
    ]
