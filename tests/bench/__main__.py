"""All rows of the bench in one run: a table, and the same with every figure as JSON.

    python -m tests.bench [--runs N] [--megabytes N] [--only WORD] [--output FILE]  (Linux, root)

Each figure is the median of some runs, between which nothing else is started; the ceiling
(`ceiling.py`) is measured before and after the rows that are compared with it. The programs of
`scripts.py` follow, with their own records.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench import lossy, others, scripts, streams
from tests.bench.ends import Course, Row
from tests.support.netns import Unavailable
from tests.support.site import site
from tests.support.zt_process import ProcessFailure

ROWS: Final[dict[str, Callable[[Course], Row | list[Row]]]] = {
    "stream": streams.one_stream,
    "mtu9000": streams.one_stream_large_mtu,
    "sixteen": streams.sixteen_streams,
    "exchange": streams.small_exchanges,
    "lossy": lossy.lossy_stream,
    "libzt": others.libzt_streams,
    "daemon": others.daemon_streams,
    "connections": scripts.connections,
    "cables": scripts.cables,
}


def measured(name: str, options: argparse.Namespace) -> list[Row]:
    """Run one bench in a world of its own; a failure is a row without a figure."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with site(Path(folder)) as world:
                rows = ROWS[name](Course(world, options.runs, options.megabytes))
        except (ProcessFailure, Unavailable, subprocess.TimeoutExpired) as error:
            return [Row(name, "", [], note=str(error).rstrip().rpartition("\n")[2])]
    return rows if isinstance(rows, list) else [rows]


def show(row: Row) -> None:
    figure = "-" if row.median is None else f"{row.median:.1f}"
    sys.stdout.write(
        f"{row.name:<42} {figure:>9} {row.unit:<7} {row.target:<26} {row.note}".rstrip() + "\n"
    )
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="All rows of the bench.")
    parser.add_argument("--runs", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--megabytes", type=int, default=500, help="of each transfer")
    parser.add_argument("--only", action="append", choices=sorted((*ROWS, *scripts.SCRIPTS)))
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    options = parser.parse_args()
    rows: list[Row] = []
    programs: dict[str, dict[str, object]] = {}
    for name in options.only or (*ROWS, *scripts.SCRIPTS):
        if name in ROWS:
            found = measured(name, options)
            rows += found
            for row in found:
                show(row)
            continue
        try:
            programs[name] = scripts.run_script(name)
        except (ProcessFailure, subprocess.TimeoutExpired) as error:
            programs[name] = {"error": str(error)}
        sys.stdout.write(f"{name}: {json.dumps(programs[name])}\n")
    beside = compared(rows)
    sys.stdout.write("".join(f"{words}: {ratio}\n" for words, ratio in beside.items()))
    result = {
        "runs": options.runs,
        "megabytes": options.megabytes,
        "rows": [row.record() for row in rows],
        "ratios": beside,
        "programs": programs,
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    failed = [row for row in rows if not row.runs and not row.is_optional]
    return 1 if failed or any("error" in one for one in programs.values()) else 0


def compared(rows: list[Row]) -> dict[str, float]:
    """Return how rows of this run stand to what two official daemons got in it."""
    medians = {row.name: row.median for row in rows}
    daemons = medians.get(others.TWO_DAEMONS)
    if not daemons:
        return {}
    names = (streams.ONE_STREAM, "zt to libzt", "libzt to zt")
    return {
        f"{name} / {others.TWO_DAEMONS}": round(median / daemons, 3)
        for name in names
        if (median := medians.get(name)) is not None
    }


if __name__ == "__main__":
    sys.exit(main())
