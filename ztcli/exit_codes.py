"""What `zt` exits with, and the errors that the command line itself raises."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """curl's number where curl has one, 80 to 89 for networks, the shell's above 128."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    NOT_RESOLVED = 6
    CANNOT_CONNECT = 7
    BODY_TOO_SHORT = 18
    HTTP_STATUS = 22
    CANNOT_WRITE = 23
    CANNOT_READ = 26
    TIMED_OUT = 28
    TLS_FAILED = 35
    TOO_MANY_REDIRECTS = 47
    EMPTY_REPLY = 52
    CONNECTION_LOST = 56
    TLS_NOT_TRUSTED = 60
    OFFLINE = 80
    NETWORK_NOT_FOUND = 81
    ACCESS_DENIED = 82
    AUTHENTICATION_REQUIRED = 83
    STATE_IN_USE = 84
    BAD_IDENTITY = 85
    RELAYED_ONLY = 86
    PORT_IN_USE = 87
    FORBIDDEN = 88
    NO_AGENT = 89
    HUNG_UP = 129
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141
    TERMINATED = 143


class CommandError(Exception):
    """A command cannot go on: a sentence, the code to exit with, and perhaps what to do."""

    def __init__(self, message: str, code: ExitCode, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class UsageProblem(CommandError, ValueError):
    """The command line, a configuration or an input is not valid."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, ExitCode.USAGE, hint)


class OutputClosed(CommandError):
    """Whoever read our output went away; nothing is said about it."""

    def __init__(self) -> None:
        super().__init__("the reader of the output went away", ExitCode.OUTPUT_CLOSED)


class ChildExit(Exception):
    """The command ends with a code that is not ours."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit with {code}")
        self.code = code
