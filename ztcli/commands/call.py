"""zt call: a stream between stdin, stdout and a peer, or an HTTP request."""

from __future__ import annotations

from ztcli import parsing
from ztcli.binding import single
from ztcli.commands.call_options import CallOptions
from ztcli.environment import Environment
from ztcli.exit_codes import ExitCode, UsageProblem
from ztcli.options import Settings

# Options that mean something to one kind of call only, and their names in messages.
_STREAM_ONLY = (
    "stdio",
    "test",
    "send_only",
    "recv_only",
    "no_stdin",
    "no_shutdown",
    "keep_sending",
    "idle_timeout",
    "linger",
    "crlf",
    "delay",
    "exec",
    "sh",
    "hexdump",
    "tls",
    "alpn",
)
_HTTP_ONLY = (
    "request",
    "header",
    "data",
    "data_raw",
    "data_binary",
    "json_data",
    "form",
    "upload_file",
    "include",
    "head",
    "output",
    "remote_name",
    "location",
    "fail",
    "fail_with_body",
    "user",
    "password_file",
    "user_agent",
    "compressed",
    "resolve",
    "write_out",
    "http1_1",
    "http2",
    "proxy",
    "http",
)
_SPELLINGS = {"test": "-z", "http1_1": "--http1.1"}


def call(env: Environment, settings: Settings, options: CallOptions) -> ExitCode:
    target = _target(options)
    _check(options, target)
    if target.is_http:
        from ztcli.commands.call_http import run_http

        return run_http(env, settings, options, target)
    from ztcli.commands.call_stream import run_stream

    return run_stream(env, settings, options, target)


def _target(options: CallOptions) -> parsing.Target:
    if options.url is not None:
        if options.target is not None:
            raise UsageProblem("the target is given twice: with --url and without")
        return parsing.target(options.url)
    if options.target is None:
        raise UsageProblem("what to call is missing: a URL, or HOST PORT")
    return parsing.target(options.target, options.port)


def _check(options: CallOptions, target: parsing.Target) -> None:
    wrong, kind = (_STREAM_ONLY, "a stream") if target.is_http else (_HTTP_ONLY, "an HTTP request")
    for name in wrong:
        if getattr(options, name):
            spelling = _SPELLINGS.get(name, "--" + name.replace("_", "-"))
            raise UsageProblem(f"{spelling} belongs to {kind}; the target is {target.scheme}")
    if options.http is not None and options.http not in ("overlay", "os"):
        raise UsageProblem(f"--http is overlay or os, not {options.http!r}")
    if options.http1_1 and options.http2:
        raise UsageProblem("--http1.1 and --http2 exclude each other")
    if options.exec and options.sh:
        raise UsageProblem("--exec and --sh exclude each other")
    if options.send_only and options.recv_only:
        raise UsageProblem("--send-only and --recv-only exclude each other")
    if options.source_port is not None:
        parsing.port(options.source_port)
    for text in (options.idle_timeout, options.linger, options.delay, options.retry_delay):
        if text is not None:
            parsing.duration(text)
    assert options.family in (0, 4, 6)


call_app = single("call", call, CallOptions, "Open a stream to HOST PORT, or fetch a URL.")
