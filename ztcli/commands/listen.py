"""zt listen: accepts streams or HTTP requests inside the network."""

from __future__ import annotations

import os
import select
import stat
import sys

from ztcli import parsing
from ztcli.binding import single
from ztcli.commands.listen_options import ListenOptions, Mode
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings


def listen(env: Environment, settings: Settings, options: ListenOptions) -> ExitCode:
    place = parsing.place(options.place)
    if place.scheme == "udp":
        raise UsageProblem("datagrams are for zt udp-listen")
    mode = _mode(env, place, options)
    _check(mode, options)
    from ztcli.commands.listen_run import run_listener

    return run_listener(env, settings, options, place, mode)


def _mode(env: Environment, place: parsing.Place, options: ListenOptions) -> Mode:
    """Apply the rule of auto: options, then waiting input, then the first bytes."""
    named = {Mode.TCP} if options.tcp else set()
    if options.mode not in (None, Mode.AUTO):
        assert options.mode is not None
        named.add(options.mode)
    if place.scheme:
        named.add(Mode(place.scheme))
    if len(named) > 1:
        raise UsageProblem("two modes are asked for: http and tcp")
    if named:
        return named.pop()
    if options.is_http_asked and options.is_tcp_asked:
        raise UsageProblem("there are options of both http and tcp: say --mode http or tcp")
    if options.is_http_asked:
        return Mode.HTTP
    if options.is_tcp_asked or _has_input(env.stdin):
        return Mode.TCP
    return Mode.AUTO


def _has_input(descriptor: int) -> bool:
    """Tell whether stdin holds data already."""
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return status.st_size > 0
        if sys.platform == "win32" or not stat.S_ISFIFO(status.st_mode):
            return False
        ready, _, _ = select.select((descriptor,), (), (), 0)
        if not ready:
            return False
        import array
        import fcntl
        import termios

        waiting = array.array("i", [0])
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
        return waiting[0] > 0
    except OSError:
        return False


def _check(mode: Mode, options: ListenOptions) -> None:
    if mode is Mode.HTTP and options.is_tcp_asked:
        raise UsageProblem("there are options of tcp, and the mode is http")
    http_only = options.is_http_asked and (
        options.body_bytes is None or bool(options.body or options.dir or options.save)
    )
    if mode is Mode.TCP and http_only:
        raise UsageProblem("there are options of http, and the mode is tcp")
    if options.serial and options.parallel:
        raise UsageProblem("--serial and --parallel exclude each other")
    uses = (bool(options.exec), bool(options.sh), options.echo, options.discard)
    if sum(uses) > 1:
        raise UsageProblem("--exec, --sh, --echo and --discard exclude each other")
    if options.runs_command and not options.allow and not options.allow_any:
        raise UsageProblem(
            "--exec and --sh run a command for whoever comes",
            "say who: --allow NODE, or --allow-any",
        )
    answers = (options.body is not None, options.dir is not None, options.body_bytes is not None)
    if sum(answers) > 1:
        raise UsageProblem("--body, --dir and --body-bytes exclude each other")
    if options.once and options.keep_open:
        raise UsageProblem("--once and --keep-open exclude each other")


listen_app = single("listen", listen, ListenOptions, "Accept streams or HTTP requests.")
