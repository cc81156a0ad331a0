"""Rows of streams between two of our nodes: one, sixteen, a large MTU, and one byte at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.bench import ceiling
from tests.bench.ends import Course, Row, agent, middle
from tests.bench.stream import Transfer, transfer, write_payload
from tests.support.zt_process import Zt

ONE_STREAM: Final = "one stream, MTU 2800"
SMALL_BYTES: Final = 1_000_000
STREAMS: Final = 16
EXCHANGES: Final = 5000


def pair(course: Course, label: str, *options: str) -> tuple[str, Zt, Zt]:
    """Return a network made with some options, and two nodes for it."""
    world = course.world
    pool = ("--pool", "10.147.20.0/24", "--public")
    network = world.controller.text("network", "create", *pool, *options)
    return network, world.node(f"{label}1", network), world.node(f"{label}2", network)


def one_stream(course: Course) -> Row:
    """Two `zt` processes, MTU 2800."""
    row = _zt_stream(course, "a", ONE_STREAM)
    row.target = ">= 200, ratio >= 0.5"
    return row


def one_stream_large_mtu(course: Course) -> Row:
    """The same where the controller sets MTU 9000."""
    row = _zt_stream(course, "b", "one stream, MTU 9000", "--mtu", "9000")
    row.target = ">= 300"
    return row


def _zt_stream(course: Course, label: str, name: str, *options: str) -> Row:
    _, left, right = pair(course, label, *options)
    small, large = payloads(course)
    transfer(left, right, 6999, small)  # they know each other from now on
    warm = transfer(left, right, 7000, small)
    before = ceiling.measure()["ceiling_mb_s"]
    taken = [transfer(left, right, 7001 + run, large) for run in range(course.runs)]
    after = ceiling.measure()["ceiling_mb_s"]
    rates = [one.rate for one in taken]
    rate = middle(rates)
    top = (before + after) / 2
    details: dict[str, object] = {
        "ceiling_mb_s": [before, after],
        "ratio_to_ceiling": round(rate / top, 3),
        **cpu_per_megabyte(warm, taken),
    }
    return Row(name, "MB/s", rates, note=f"{rate / top:.2f} of the ceiling", details=details)


def payloads(course: Course) -> tuple[Path, Path]:
    small, large = (course.world.folder / name for name in ("small", "large"))
    if not large.exists():
        write_payload(small, SMALL_BYTES)
        write_payload(large, course.megabytes * 1_000_000)
    return small, large


def cpu_per_megabyte(warm: Transfer, taken: list[Transfer]) -> dict[str, object]:
    """Return CPU milliseconds for a megabyte, without what starting and ending cost."""
    per = {}
    for end in ("sender_cpu_s", "receiver_cpu_s"):
        used = [
            (getattr(one, end) - getattr(warm, end)) * 1e9 / (one.received - warm.received)
            for one in taken
            if one.received > warm.received
        ]
        if used:
            per[end.replace("_cpu_s", "_cpu_ms_per_mb")] = middle(used)
    return dict(per)


def sixteen_streams(course: Course) -> Row:
    """As many streams at once between two nodes, beside one stream of the same programs."""
    network, left, right = pair(course, "c")
    total = course.megabytes * 1_000_000
    singles, rates, spreads, used = [], [], [], []
    planet = str(course.world.planet)
    with agent(left, network, planet) as taker, agent(right, network, planet) as giver:
        port = 7000
        for run in range(2 * course.runs):
            streams = STREAMS if run % 2 else 1
            port += 1
            ip = taker.listen("sink", port=port, streams=streams)
            giver.begin("send", ip=ip, port=port, streams=streams, bytes=total // streams)
            sent, taken = giver.answer(), taker.answer()
            rate = taken["bytes"] / 1e6 / taken["seconds"]
            if streams == 1:
                singles.append(rate)
                continue
            rates.append(rate)
            spreads.append(max(taken["at_first_end"]) / max(1, min(taken["at_first_end"])))
            used.append((sent["cpu_s"] + taken["cpu_s"]) * 1e9 / taken["bytes"])
    ratio, spread = middle(rates) / middle(singles), middle(spreads)
    note = f"{ratio:.2f} of one stream ({middle(singles):.0f}), spread {spread:.2f}"
    details: dict[str, object] = {
        "one_stream_mb_s": middle(singles),
        "ratio_to_one_stream": round(ratio, 3),
        "spread": spread,
        "both_cpu_ms_per_mb": middle(used),
    }
    target = "ratio >= 0.9, spread <= 2"
    return Row(f"{STREAMS} streams, total", "MB/s", rates, target, note, details)


def small_exchanges(course: Course) -> Row:
    """One byte there and one back."""
    network, left, right = pair(course, "d")
    medians, tails, used = [], [], []
    planet = str(course.world.planet)
    with agent(left, network, planet) as server, agent(right, network, planet) as client:
        for run in range(course.runs):
            ip = server.listen("echo", port=7001 + run)
            client.begin("ask", ip=ip, port=7001 + run, count=EXCHANGES)
            asked, answered = client.answer(), server.answer()
            medians.append(asked["p50_us"])
            tails.append(asked["p99_us"])
            used.append((asked["cpu_s"] + answered["cpu_s"]) * 1e6 / EXCHANGES)
    note = f"p99 {middle(tails, 0):.0f} us, CPU of both {middle(used, 0):.0f} us"
    details: dict[str, object] = {"p99_us": middle(tails), "both_cpu_us": middle(used)}
    target = "p50 <= 250, p99 <= 600"
    return Row("1-byte request/response, p50", "us", medians, target, note, details)
