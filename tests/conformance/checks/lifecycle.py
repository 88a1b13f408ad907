"""Agents that come, go and die. These start probes of their own, so they need `--mcpctl`."""

import asyncio
import time

import expect
from mcp_peer import LANES
from registry import check, end


@check(timeout=60, needs_mcpctl=True)
async def accepted_before_the_agent_runs(env):
    """Done when it starts; an expired one is a dead letter instead."""
    name, key = env.unique("probe"), env.unique()
    commands = [env.peer.command(name, "count", {"key": key}, lane=lane) for lane in LANES]
    for command in commands:
        await env.peer.send(command)
    late = env.peer.command(name, "count", {"key": key}, ttl_ms=100)
    ack = await env.peer.send(late)
    await asyncio.sleep(0.5)
    await env.start_probe(name)
    counts = [expect.ok(command, await env.peer.response(command.id))["count"] for command in commands]
    assert sorted(counts) == [1, 2, 3, 4], f"counted {counts}"
    expect.error(late, await env.peer.response(late.id), "DEADLINE_EXCEEDED", "PERMANENT")
    await env.peer.gone(ack.seq)


@check(timeout=60, needs_mcpctl=True)
async def killed_workers_command_is_done_by_another(env):
    name = env.unique("probe")
    first = await env.start_probe(name)
    command = env.peer.command(name, "sleep", {"ms": 3000})
    await env.peer.send(command)
    await asyncio.sleep(1)
    first.kill()
    await first.wait()
    began = time.monotonic()
    await env.start_probe(name)
    frame = await env.peer.response(command.id, timeout=25)
    expect.ok(command, frame)
    waited = time.monotonic() - began
    assert waited < 20, f"took {waited:.1f} s; ack_wait is 10 s and the work 3 s"
    assert await env.peer.no_frame(command.id), "answered twice"


@check(timeout=60, needs_mcpctl=True)
async def drained_agent_finishes_and_takes_nothing_new(env):
    name, key = env.unique("probe"), env.unique()
    process = await env.start_probe(name)
    running = env.peer.command(name, "sleep", {"ms": 2000})
    await env.peer.send(running)
    await asyncio.sleep(0.5)
    await env.peer.control(name, "drain", {})
    await asyncio.sleep(0.5)
    queued = env.peer.command(name, "count", {"key": key})
    ack = await env.peer.send(queued)
    realtime = env.peer.command(name, "echo", {})
    await env.peer.send_realtime(realtime)
    expect.ok(running, await env.peer.response(running.id))
    if not await env.peer.no_frame(realtime.id, 0.2):
        expect.error(realtime, await env.peer.response(realtime.id), "DRAINING", "TEMPORARY")
    assert await asyncio.wait_for(process.wait(), 15) == 0, f"exit status {process.returncode}"
    assert await env.peer.queued(ack.seq), "a draining agent took a durable command off the queue"
    await env.start_probe(name)
    # A command the drained instance had fetched already may have to wait for its lease to pass.
    assert expect.ok(queued, await env.peer.response(queued.id, timeout=15)) == {"count": 1}


@check(timeout=60, needs_mcpctl=True)
async def sigterm_finishes_what_runs(env):
    name = env.unique("probe")
    process = await env.start_probe(name)
    command = env.peer.command(name, "sleep", {"ms": 1500})
    await env.peer.send(command)
    await asyncio.sleep(0.5)
    process.terminate()
    expect.ok(command, await env.peer.response(command.id, timeout=5))
    assert await asyncio.wait_for(process.wait(), 15) == 0, f"exit status {process.returncode}"


@check(timeout=60, needs_mcpctl=True)
async def replicas_share_the_work(env):
    name = env.unique("probe")
    await env.start_probe(name, capacity=2)
    await env.start_probe(name, capacity=2)
    commands = [env.peer.command(name, "sleep", {"ms": 300}) for _ in range(16)]
    for command in commands:
        await env.peer.send(command)
    frames = [await env.peer.response(command.id, timeout=15) for command in commands]
    instances = {expect.response(*pair)["instance"] for pair in zip(commands, frames, strict=True)}
    assert len(instances) == 2, f"answered by {instances}"


@check(timeout=60, needs_mcpctl=True)
async def capacity_is_never_exceeded(env):
    """One place: three commands of 400 ms each take at least 1.2 s, and a higher lane goes first."""
    name = env.unique("probe")
    await env.start_probe(name, capacity=1)
    began, order = time.monotonic(), []
    lanes = ("low", "low", "low", "critical")
    commands = [env.peer.command(name, "sleep", {"ms": 400}, lane=lane) for lane in lanes]

    async def answered(command):
        expect.ok(command, await env.peer.response(command.id, timeout=15))
        order.append(command.fields["priority"])

    for command in commands:
        await env.peer.send(command)
    await asyncio.gather(*map(answered, commands))
    assert time.monotonic() - began >= 1.6, "more than one at a time with --capacity 1"
    assert order.index("critical") < 3, f"the critical lane came last: {order}"


@check("reliability", timeout=60, needs_mcpctl=True)
async def not_instance_goes_to_another(env):
    name = env.unique("probe")
    await env.start_probe(name)
    _, frame = await env.peer.call(name, "echo", {})
    avoided = frame.fields["instance"]
    command = env.peer.command(name, "echo", {"alone": True})
    command.headers["Mcp-Not-Instance"] = avoided
    await env.peer.send(command)
    expect.ok(command, await env.peer.response(command.id))
    second = await env.start_probe(name)
    await asyncio.sleep(6)  # a heartbeat interval, for the two to know of each other
    for _ in range(10):
        command = env.peer.command(name, "echo", {})
        command.headers["Mcp-Not-Instance"] = avoided
        await env.peer.send(command)
        fields = expect.response(command, await env.peer.response(command.id))
        assert fields["instance"] != avoided, "done by the instance that was to be avoided"
    await end(second)
