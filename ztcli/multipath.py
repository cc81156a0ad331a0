"""What --multipath and the --mp options mean together."""

from __future__ import annotations

from dataclasses import dataclass

from ztcli import parsing
from ztcli.exit_codes import UsageProblem


@dataclass(frozen=True, slots=True)
class Multipath:
    """Several paths to one peer: how they are shared, and on which sockets.

    Without a policy or ports the state directory's `local.conf` and then the defaults decide;
    `ports` are as many as there are sockets on each address, 0 is any.
    """

    policy: str | None = None
    ports: tuple[int, ...] | None = None
    warmup_root: bool | None = None
    bind: tuple[str, ...] = ()


def multipath(
    *,
    wanted: bool,
    bond: str | None,
    sockets: str | None,
    ports: str | None,
    warmup_root: str | None,
    bind: str | None,
) -> Multipath | None:
    """Check the options; None if there is none of them."""
    given = (bond, sockets, ports, warmup_root, bind)
    if not wanted and all(value is None for value in given):
        return None
    policy = parsing.bond_policy(bond) if bond is not None else None
    count = parsing.udp_sockets(sockets) if sockets is not None else None
    numbers = parsing.udp_ports(ports) if ports is not None else None
    if numbers is None and count is not None:
        numbers = (0,) * count
    elif numbers is not None and count is not None and len(numbers) != count:
        raise UsageProblem(
            f"--mp-udp-ports names {len(numbers)} ports for {count} sockets of --mp-udp-sockets"
        )
    return Multipath(
        policy=policy,
        ports=numbers,
        warmup_root=(
            parsing.boolean(warmup_root, "--mp-warmup-root") if warmup_root is not None else None
        ),
        bind=parsing.local_ips(bind) if bind is not None else (),
    )
