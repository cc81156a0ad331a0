"""zt bench: how fast the network is between two nodes, and the node that answers."""

from __future__ import annotations

from typing import Final

from ztcli import parsing
from ztcli.binding import single
from ztcli.commands.bench_options import MAX_TIME_S, BenchOptions
from ztcli.commands.bench_wire import Amount
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings

DEFAULT_PORT: Final = 5201
TIME_S: Final = 10.0
UDP_BITS: Final = 10_000_000
LEAST_BITS: Final = 1000
_SERVE: Final = "serve"
_LOCAL: Final = "local"
_OF_CLIENT: Final = ("reverse", "bidir", "udp", "bitrate", "time", "bytes", "via_relay")


def bench(env: Environment, settings: Settings, options: BenchOptions) -> ExitCode:
    serves = options.target == _SERVE
    port = DEFAULT_PORT
    if options.port is not None:
        port = parsing.port(options.port, zero=serves)
    if serves:
        if any(getattr(options, name) for name in _OF_CLIENT):
            raise UsageProblem(f"{', '.join(map(_spelled, _OF_CLIENT))} are for the other end")
        from ztcli.commands.bench_serve import serve

        return serve(env, settings, options, port)
    if options.ready_file is not None or options.ready_fd is not None:
        raise UsageProblem("--ready-file and --ready-fd belong to zt bench serve")
    if options.target == _LOCAL:
        given = [name for name in (*_OF_CLIENT, "port", "allow", "deny") if getattr(options, name)]
        if given:
            raise UsageProblem(f"zt bench local uses no network: {_spelled(given[0])} says nothing")
        from ztcli.commands.bench_local import measure_here

        return measure_here(env, settings)
    if options.allow or options.deny:
        raise UsageProblem("--allow and --deny belong to zt bench serve")
    if options.time is not None and options.bytes is not None:
        raise UsageProblem("--time and --bytes exclude each other")
    if options.via_relay and settings.planet is None and not settings.is_overlay:
        raise UsageProblem("--via-relay would load public roots: it needs a --planet of yours")
    if options.reverse and options.bidir:
        raise UsageProblem("--reverse and --bidir exclude each other")
    amount = _amount(options)
    from ztcli.commands.bench_run import measure

    return measure(env, settings, options, port, amount)


def _amount(options: BenchOptions) -> Amount:
    seconds = parsing.duration(options.time) if options.time is not None else TIME_S
    if seconds is None or seconds > MAX_TIME_S:
        raise UsageProblem("--time is at most 1h")
    count = parsing.size(options.bytes) if options.bytes is not None else None
    if count == 0:
        raise UsageProblem("--bytes is at least 1")
    bits = parsing.size(options.bitrate) if options.bitrate is not None else None
    if bits is not None and bits < LEAST_BITS:
        raise UsageProblem("--bitrate is at least 1k")
    if bits is None and options.udp:
        bits = UDP_BITS
    return Amount(None if count else seconds, count, bits / 8 if bits is not None else None)


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"


bench_app = single("bench", bench, BenchOptions, "Measure latency and throughput.")
