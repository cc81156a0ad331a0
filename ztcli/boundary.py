"""The one place where exceptions become a line on stderr and an exit code."""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ztcli.environment import Environment
from ztcli.exit_codes import ChildExit, CommandError, ExitCode, OutputClosed
from ztcli.log import Log

# By name, so that no engine has to be loaded to know what its errors mean; the most special
# class of an exception that stands here decides.
_CODES: Final = {
    "NameNotResolved": ExitCode.NOT_RESOLVED,
    "ConnectRefused": ExitCode.CANNOT_CONNECT,
    "ConnectReset": ExitCode.CONNECTION_LOST,
    "Unreachable": ExitCode.CANNOT_CONNECT,
    "NoAnswer": ExitCode.TIMED_OUT,
    "Offline": ExitCode.OFFLINE,
    "NetworkNotFound": ExitCode.NETWORK_NOT_FOUND,
    "AccessDenied": ExitCode.ACCESS_DENIED,
    "AuthenticationRequired": ExitCode.AUTHENTICATION_REQUIRED,
    "StateInUse": ExitCode.STATE_IN_USE,
    "IdentityError": ExitCode.BAD_IDENTITY,
    "PortInUse": ExitCode.PORT_IN_USE,
    "InvalidConfig": ExitCode.USAGE,
    "NotJoined": ExitCode.USAGE,
    "StorageError": ExitCode.USAGE,
    "LocalError": ExitCode.USAGE,
    "RemoteError": ExitCode.CANNOT_CONNECT,
    "SSLCertVerificationError": ExitCode.TLS_NOT_TRUSTED,
    "SSLError": ExitCode.TLS_FAILED,
    "ConnectionRefusedError": ExitCode.CANNOT_CONNECT,
    "ConnectionResetError": ExitCode.CONNECTION_LOST,
    "BrokenPipeError": ExitCode.CONNECTION_LOST,
    "TimeoutError": ExitCode.TIMED_OUT,
    "KeyboardInterrupt": ExitCode.INTERRUPTED,
}

_ERRNO_CODES: Final = {
    errno.EADDRINUSE: ExitCode.PORT_IN_USE,
    errno.ENOSPC: ExitCode.CANNOT_WRITE,
    errno.EFBIG: ExitCode.CANNOT_WRITE,
}

_HINTS: Final = {
    ExitCode.ACCESS_DENIED: "authorise it on the controller, or wait for it with --wait-auth 10m",
    ExitCode.NETWORK_NOT_FOUND: "is the network id right, and is its controller running?",
    ExitCode.OFFLINE: "is UDP blocked here, and is --planet the right one?",
}


@dataclass(slots=True)
class Manner:
    """How errors are told; filled as the options become known."""

    json: bool = False
    trace: bool = False
    silent: bool = False
    log: Log | None = None


def code_of(error: BaseException) -> ExitCode:
    """Return the exit code of an exception; INTERNAL for what nobody expected."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, OSError) and error.errno in _ERRNO_CODES:
        return _ERRNO_CODES[error.errno]
    for kind in type(error).__mro__:
        code = _CODES.get(kind.__name__)
        if code is not None:
            return code
    return ExitCode.USAGE if _is_usage(error) else ExitCode.INTERNAL


def run_command(env: Environment, manner: Manner, command: Callable[[], object]) -> int:
    """Run a command; whatever it raises ends here."""
    try:
        result = command()
    except ChildExit as child:
        return child.code
    except SystemExit:
        # Typer's way out when the reader of its help went away.
        return ExitCode.OUTPUT_CLOSED
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001 - the border of the program
        return _tell(env, manner, _innermost(raised))
    finally:
        if manner.log is not None:
            manner.log.stream.close()
    return int(result) if isinstance(result, int) else int(ExitCode.OK)


def _innermost(error: BaseException) -> BaseException:
    """Return the cause that a group of concurrent tasks failed for."""
    while isinstance(error, BaseExceptionGroup):
        known = [one for one in error.exceptions if code_of(one) is not ExitCode.INTERNAL]
        error = (known or error.exceptions)[0]
    return error


def _tell(env: Environment, manner: Manner, error: BaseException) -> int:
    code = code_of(error)
    if manner.trace:
        env.say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, OutputClosed | KeyboardInterrupt):
        return code
    message, hint = words_of(error, code)
    if manner.log is not None:
        manner.log.write(f"{message} [ZT-E{int(code):03}]", "error")
    if manner.silent:
        return code
    if manner.json:
        record: dict[str, object] = {"v": 1, "type": "error", "code": int(code), "error": message}
        if hint:
            record["hint"] = hint
        env.say(json.dumps(record))
        return code
    env.say(f"zt: {message} [ZT-E{int(code):03}]")
    if hint:
        env.say(f"    {hint}")
    return code


def words_of(error: BaseException, code: ExitCode) -> tuple[str, str]:
    """Return what is said about an error, and what to do about it."""
    if isinstance(error, CommandError):
        return str(error), error.hint
    if code is ExitCode.INTERNAL:
        return f"internal error: {type(error).__name__}: {error}", "run it again with --trace"
    if _is_usage(error):
        message = str(error.format_message())  # type: ignore[attr-defined]
        context = getattr(error, "ctx", None)
        path = getattr(context, "command_path", "zt")
        return message[:1].lower() + message[1:].rstrip("."), f"see: {path} --help"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", _HINTS.get(code, "")
    message = str(error) or type(error).__name__
    return message, _HINTS.get(code, "")


def _is_usage(error: BaseException) -> bool:
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)
