"""Commands accepted while no agent runs. `--phase before` sends them, then the agent is started, then `--phase after`.

Nothing is remembered between the two runs: the keys are fixed, so the server must be a clean one.
"""

import asyncio
import time

from mcp_peer import JSON, LANES, MSGPACK
from registry import check

EXPIRED = "phase-expired"


@check(phase="before")
async def before_commands_are_accepted(env):
    for lane in LANES:
        for codec in (JSON, MSGPACK):
            command = env.command("count", {"key": f"phase-{lane}"}, lane=lane, codec=codec, reply=None)
            ack = await env.peer.send(command)
            assert ack.stream == f"{env.ns}_commands" and not ack.duplicate, ack
            assert await env.peer.queued(ack.seq), "the stream did not keep a command nobody consumes yet"


@check(phase="before")
async def before_short_lived_command_is_accepted(env):
    await env.peer.send(env.command("count", {"key": EXPIRED}, ttl_ms=100, reply=None))


@check(phase="after")
async def after_accepted_commands_were_done(env):
    end = time.monotonic() + 10
    while (queue := (await env.peer.stream_info("commands"))["state"])["messages"]:
        assert time.monotonic() < end, f"{queue['messages']} commands still queued"
        await asyncio.sleep(0.05)
    for lane in LANES:
        assert await env.ok("count", {"key": f"phase-{lane}"}) == {"count": 3}, f"lane {lane}"


@check(phase="after")
async def after_expired_command_was_not_done(env):
    assert await env.ok("count", {"key": EXPIRED}) == {"count": 1}, "a command was executed after its ttl_ms"
    last = (await env.peer.stream_info("dead_letters"))["state"]["last_seq"]
    letters = [await env.peer.stored(f"{env.ns}_dead_letters", seq=seq) for seq in range(1, last + 1)]
    found = [letter.headers["Mcp-Dead-Reason"] for letter in letters if letter and EXPIRED.encode() in letter.data]
    assert found == ["DEADLINE_EXCEEDED"], f"dead letters of the expired command: {found}"
