"""Sections 2 and 6: cancelling, and the time a command has."""

import asyncio
import time

import expect
from mcp_peer import JSON, LANES, MSGPACK
from registry import check


async def cancelled(env, command):
    """Asks until the answer comes: the first request may overtake the command's start."""
    answer = asyncio.create_task(env.peer.response(command.id, timeout=10))
    while not answer.done():
        await env.peer.control(env.agent, "cancel", {"command_id": command.id}, codec=command.codec)
        await asyncio.wait({answer}, timeout=0.3)
    return answer.result()


@check()
async def running_command_is_cancelled(env):
    for codec in (JSON, MSGPACK):
        command = env.command("sleep", {"ms": 60_000}, codec=codec)
        ack = await env.peer.send(command)
        await asyncio.sleep(0.5)
        began = time.monotonic()
        expect.error(command, await cancelled(env, command), "CANCELLED", "PERMANENT")
        assert time.monotonic() - began < 5, "cancelling took its time"
        await env.peer.gone(ack.seq)


@check()
async def running_realtime_command_is_cancelled(env):
    command = env.command("sleep", {"ms": 60_000})
    await env.peer.send_realtime(command)
    await asyncio.sleep(0.3)
    expect.error(command, await cancelled(env, command), "CANCELLED", "PERMANENT")


@check()
async def cancelling_another_id_changes_nothing(env):
    command = env.command("sleep", {"ms": 700})
    await env.peer.send(command)
    await env.peer.control(env.agent, "cancel", {"command_id": env.command("echo").id})
    expect.ok(command, await env.peer.response(command.id))


@check()
async def drain_of_another_instance_changes_nothing(env):
    await env.peer.control(env.agent, "drain", {"instance": "nobody-has-this-name"})
    await asyncio.sleep(0.3)
    await env.alive()


async def fill(env, milliseconds):
    """Occupies the whole capacity for a while, on every lane; returns the commands that do."""
    capacity = await env.capacity()
    sleepers = [env.command("sleep", {"ms": milliseconds}, lane=lane) for _ in range(capacity) for lane in LANES]
    await asyncio.gather(*(env.peer.send(command) for command in sleepers))
    return sleepers


@check(timeout=60)
async def expired_command_is_answered_and_not_executed(env):
    sleepers = await fill(env, 800)
    key = env.unique()
    late = env.command("count", {"key": key}, lane="low", ttl_ms=300)
    quiet = env.command("count", {"key": key}, lane="low", ttl_ms=300, reply=None)
    patient = env.command("count", {"key": key}, lane="low", ttl_ms=60_000)
    acks = [await env.peer.send(command) for command in (late, quiet, patient)]
    expect.error(late, await env.peer.response(late.id, timeout=15), "DEADLINE_EXCEEDED", "PERMANENT")
    assert expect.ok(patient, await env.peer.response(patient.id)) == {"count": 1}, "an expired command was executed"
    expect.dead_letter(await env.peer.dead_letter(acks[1].seq), quiet, "DEADLINE_EXCEEDED", env.ns)
    for ack in acks:
        await env.peer.gone(ack.seq)
    for sleeper in sleepers:
        expect.ok(sleeper, await env.peer.response(sleeper.id))


@check("reliability", timeout=60)
async def queued_command_is_cancelled(env):
    sleepers = await fill(env, 800)
    key = env.unique()
    command = env.command("count", {"key": key}, lane="low")
    ack = await env.peer.send(command)
    await env.peer.control(env.agent, "cancel", {"command_id": command.id})
    expect.error(command, await env.peer.response(command.id, timeout=15), "CANCELLED", "PERMANENT")
    await env.peer.gone(ack.seq)
    assert await env.ok("count", {"key": key}) == {"count": 1}, "a cancelled command was executed"
    for sleeper in sleepers:
        await env.peer.response(sleeper.id)


@check("reliability")
async def cancelled_id_is_remembered(env):
    command = env.command("echo", {})
    await env.peer.control(env.agent, "cancel", {"command_id": command.id})
    await asyncio.sleep(0.3)
    await env.peer.send(command)
    expect.error(command, await env.peer.response(command.id), "CANCELLED", "PERMANENT")


@check("reliability", timeout=60)
async def realtime_to_a_full_agent_is_overloaded(env):
    sleepers = await fill(env, 800)
    await asyncio.sleep(0.3)
    commands = [env.command("sleep", {"ms": 1}) for _ in range(200)]
    for command in commands:
        await env.peer.send_realtime(command)
    answers = [(command, await env.peer.response(command.id, timeout=15)) for command in commands]
    refused = [expect.error(*answer, "OVERLOADED", "TEMPORARY") for answer in answers
               if answer[1].fields["status"] == "error"]
    assert refused, "a full agent refused none of its realtime commands"
    assert all(expect.is_int(error.get("retry_delay_ms")) for error in refused), "OVERLOADED without retry_delay_ms"
    for sleeper in sleepers:
        await env.peer.response(sleeper.id)


@check("reliability")
async def age_header_counts_against_the_ttl(env):
    command = env.command("echo", {}, ttl_ms=5_000)
    command.headers["Mcp-Age-Ms"] = "6000"
    await env.peer.send(command)
    expect.error(command, await env.peer.response(command.id), "DEADLINE_EXCEEDED", "PERMANENT")
    command = env.command("echo", {}, ttl_ms=60_000)
    command.headers["Mcp-Age-Ms"] = "6000"
    await env.peer.send(command)
    expect.ok(command, await env.peer.response(command.id))
