"""The options of zt bench."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from ztcli.ready import ReadyFd, ReadyFile

Text = str | None
Texts = list[str] | None
MAX_TIME_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Options of zt bench and zt bench serve."""

    target: Annotated[str, typer.Argument(metavar="HOST|serve|local", help="A host that serves.")]
    port: Annotated[Text, typer.Argument(metavar="[PORT]", help="Default: 5201.")] = None
    reverse: Annotated[bool, typer.Option("--reverse", help="The host sends.")] = False
    bidir: Annotated[bool, typer.Option("--bidir", help="Both send at once.")] = False
    udp: Annotated[bool, typer.Option("--udp", help="Datagrams, at a --bitrate.")] = False
    bitrate: Annotated[
        Text, typer.Option("--bitrate", metavar="R", help="Bits a second; --udp: 10M.")
    ] = None
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=32, help="Streams.")] = 1
    time: Annotated[Text, typer.Option("--time", metavar="DUR", help="How long; default: 10s.")] = (
        None
    )
    bytes: Annotated[
        Text, typer.Option("--bytes", metavar="SIZE", help="So much on each stream, no time.")
    ] = None
    via_relay: Annotated[
        bool, typer.Option("--via-relay", help="Over a root too, if it is of --planet.")
    ] = False
    allow: Annotated[Texts, typer.Option("--allow", metavar="ID|CIDR", help="serve: who may.")] = (
        None
    )
    deny: Annotated[Texts, typer.Option("--deny", metavar="ID|CIDR", help="serve: who not.")] = None
    max_conns: Annotated[int, typer.Option("--max-conns", min=1, help="serve: at once.")] = 100
    ready_file: ReadyFile = None
    ready_fd: ReadyFd = None
