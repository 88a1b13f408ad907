"""Section 4: a command that kills its workers. Ours pretends to be them. Needs `--mcpctl`."""

import asyncio

import expect
from registry import check, end


@check("reliability", timeout=90, needs_mcpctl=True)
async def command_that_kills_its_workers_is_poison(env):
    name, key = env.unique("probe"), env.unique()
    await end(await env.start_probe(name))
    command = env.peer.command(name, "count", {"key": key})
    ack = await env.peer.send(command)
    subscription = await env.peer.js.pull_subscribe_bind(f"{name}_normal", f"{env.ns}_commands")
    for _ in range(6):
        message, = await subscription.fetch(1, timeout=5)
        await message.nak()  # a delivery without a recorded failure, as of a worker that died
    await asyncio.sleep(0.2)
    await env.start_probe(name)
    letter = await env.peer.dead_letter(ack.seq, timeout=15)
    expect.dead_letter(letter, command, "POISON", env.ns)
    expect.error(command, await env.peer.response(command.id), "POISON", "PERMANENT")
    assert expect.ok(*await env.peer.call(name, "count", {"key": key})) == {"count": 1}, "a poisonous command was executed"


@check("reliability", timeout=60, needs_mcpctl=True)
async def few_redeliveries_are_no_poison(env):
    name = env.unique("probe")
    await end(await env.start_probe(name))
    command = env.peer.command(name, "echo", {"x": 1})
    await env.peer.send(command)
    subscription = await env.peer.js.pull_subscribe_bind(f"{name}_normal", f"{env.ns}_commands")
    for _ in range(3):
        message, = await subscription.fetch(1, timeout=5)
        await message.nak()
    await asyncio.sleep(0.2)
    await env.start_probe(name)
    assert expect.ok(command, await env.peer.response(command.id, timeout=15)) == {"x": 1}
