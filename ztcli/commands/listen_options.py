"""The options of zt listen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from ztcli.ready import ReadyFd, ReadyFile
from ztcli.services import HEALTH_HELP

Text = str | None
Texts = list[str] | None


class Mode(StrEnum):
    """What is served."""

    AUTO = "auto"
    HTTP = "http"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Options of zt listen, as written."""

    place: Annotated[str, typer.Argument(metavar="PORT|IP:PORT|URL", help="0 picks a port.")]
    mode: Annotated[Mode | None, typer.Option("--mode", help="What to serve.")] = None
    tcp: Annotated[bool, typer.Option("--tcp", help="The same as --mode tcp.")] = False
    # HTTP.
    body_bytes: Annotated[
        Text, typer.Option("--body-bytes", metavar="SIZE", help="Answer with so many bytes.")
    ] = None
    status: Annotated[
        int | None, typer.Option("--status", min=200, max=599, help="The status of every answer.")
    ] = None
    header: Annotated[
        Texts, typer.Option("--header", metavar="'K: V'", help="A header of every answer.")
    ] = None
    body: Annotated[
        Text, typer.Option("--body", metavar="TEXT|@FILE", help="What every answer says.")
    ] = None
    dir: Annotated[Text, typer.Option("--dir", metavar="PATH", help="Serve these files.")] = None
    save: Annotated[Text, typer.Option("--save", metavar="DIR", help="Keep request bodies.")] = None
    requests: Annotated[int | None, typer.Option("--requests", min=1, help="Then exit.")] = None
    # Streams.
    keep_open: Annotated[bool, typer.Option("--keep-open", "-k", help="Go on accepting.")] = False
    serial: Annotated[bool, typer.Option("--serial", help="One connection after another.")] = False
    parallel: Annotated[bool, typer.Option("--parallel", help="Several at once.")] = False
    exec: Annotated[Text, typer.Option("--exec", metavar="CMD", help="Join a command.")] = None
    sh: Annotated[Text, typer.Option("--sh", metavar="CMD", help="The same by a shell.")] = None
    echo: Annotated[bool, typer.Option("--echo", help="Send back what arrives.")] = False
    discard: Annotated[bool, typer.Option("--discard", help="Drop what arrives.")] = False
    send_only: Annotated[bool, typer.Option("--send-only", help="Drop what arrives.")] = False
    recv_only: Annotated[bool, typer.Option("--recv-only", help="Send nothing.")] = False
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Never read stdin.")] = False
    raw: Annotated[
        bool, typer.Option("--raw", help="Control characters as they are, also to a terminal.")
    ] = False
    tls: Annotated[bool, typer.Option("--tls", help="TLS on every connection.")] = False
    cert: Annotated[Text, typer.Option("--cert", metavar="FILE", help="Our certificate.")] = None
    key: Annotated[Text, typer.Option("--key", metavar="FILE", help="Its private key.")] = None
    # Both.
    once: Annotated[bool, typer.Option("--once", help="One connection or request.")] = False
    max_conns: Annotated[int, typer.Option("--max-conns", min=1, help="Connections at once.")] = 100
    allow: Annotated[
        Texts,
        typer.Option("--allow", metavar="ID|CIDR", help="Who may come in; all others may not."),
    ] = None
    deny: Annotated[
        Texts, typer.Option("--deny", metavar="ID|CIDR", help="Who may not come in.")
    ] = None
    allow_any: Annotated[bool, typer.Option("--allow-any", help="With --exec: everybody.")] = False
    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End what is still for so long.")
    ] = None
    grace: Annotated[Text, typer.Option("--grace", metavar="DUR", help="After SIGTERM.")] = None
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
    health: Annotated[Text, typer.Option("--health", metavar="[HOST:]PORT", help=HEALTH_HELP)] = (
        None
    )

    @property
    def runs_command(self) -> bool:
        return bool(self.exec or self.sh)

    @property
    def is_http_asked(self) -> bool:
        given: tuple[Any, ...] = (
            self.status,
            self.header,
            self.body,
            self.dir,
            self.save,
            self.requests,
            self.body_bytes,
        )
        return any(value is not None and value != [] for value in given)

    @property
    def is_tcp_asked(self) -> bool:
        given: tuple[Any, ...] = (
            self.tcp,
            self.keep_open,
            self.serial,
            self.parallel,
            self.runs_command,
            self.echo,
            self.discard,
            self.send_only,
            self.recv_only,
            self.no_stdin,
            self.raw,
        )
        return any(given)
