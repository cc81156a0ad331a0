"""asyncssh, both sides, over two nodes of a lab: a protocol class that knows nothing of us."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

import ztstack
from tests.support.loopback import LOOPS, OnLab, ipv4


class Open(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False


async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
    data = await process.stdin.read()
    process.stdout.write(f"{process.command}: {data[::-1]}")
    process.exit(3)


@pytest.mark.parametrize("loop", LOOPS)
def test_asyncssh(tmp_path: Path, loop: str) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            None,
            22,
            tunnel=bob.asyncssh_tunnel(),
            server_factory=Open,
            process_factory=answer,
            server_host_keys=[key],
        )
        known = asyncssh.import_known_hosts(f"* {key.export_public_key().decode()}")
        async with asyncssh.connect(
            ipv4(bob), 22, tunnel=alice.asyncssh_tunnel(), known_hosts=known, config=None,
            username="somebody",
        ) as connection:  # fmt: skip
            assert connection.get_extra_info("peername") == (ipv4(bob), 22)
            done = await connection.run("reverse", input="abc" * 200_000)
            assert done.stdout == "reverse: " + "cba" * 200_000
            assert done.exit_status == 3
        server.close()
        await server.wait_closed()

    on_lab = OnLab(tmp_path, loop)
    try:
        on_lab(body)
    finally:
        on_lab.stop()
