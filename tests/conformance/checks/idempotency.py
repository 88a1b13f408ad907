"""Section 5, as requesters see it: one outcome for a key, for everyone."""

import asyncio
import tempfile
import time

import expect
from mcp_peer import JSON, MSGPACK
from registry import check


@check("reliability")
async def sent_again_is_replayed(env):
    key, parameters = env.unique(), {"key": env.unique()}
    first = expect.response(*await env.call("count", parameters, idempotency_key=key))
    assert first["result"] == {"count": 1} and not first.get("replayed"), first
    for codec in (MSGPACK, JSON):
        for lane in ("normal", "high"):
            again = expect.response(*await env.call("count", parameters, idempotency_key=key, codec=codec, lane=lane))
            assert again["result"] == {"count": 1} and again.get("replayed") is True, again
    assert await env.ok("count", parameters) == {"count": 2}, "the handler ran for a replayed command"


@check("reliability")
async def hundred_at_once_are_one(env):
    key, parameters = env.unique("ключ"), {"key": env.unique()}
    commands = [env.command("count", parameters, idempotency_key=key) for _ in range(100)]
    await asyncio.gather(*(env.peer.send(command) for command in commands))
    for command in commands:
        assert expect.ok(command, await env.peer.response(command.id)) == {"count": 1}
    assert await env.ok("count", parameters) == {"count": 2}


@check("reliability")
async def sent_again_while_it_runs_waits(env):
    parameters, key = {"ms": 2000}, env.unique()
    began = time.monotonic()
    commands = [env.command("sleep", parameters, idempotency_key=key) for _ in range(3)]
    for command in commands:
        await env.peer.send(command)
    answers = [expect.response(command, await env.peer.response(command.id)) for command in commands]
    assert time.monotonic() - began < 4, "the second did not wait for the first, it ran itself"
    assert len({answer["processing_ms"] for answer in answers}) == 1, "not the same response"
    assert sum(not answer.get("replayed") for answer in answers) == 1, "more than one says it was executed"


@check("reliability", timeout=40)
async def waiting_takes_no_capacity(env):
    capacity, key = await env.capacity(), env.unique()
    commands = [env.command("sleep", {"ms": 3000}, idempotency_key=key) for _ in range(capacity + 1)]
    for command in commands:
        await env.peer.send(command)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    await env.alive()
    assert time.monotonic() - began < 2, "waiting commands filled the agent"
    for command in commands:
        expect.ok(command, await env.peer.response(command.id))


@check("reliability")
async def other_parameters_conflict(env):
    key = env.unique()
    await env.ok("echo", {"x": 1}, idempotency_key=key)
    for other in ({"x": 2}, {}, {"x": 1, "y": None}, [1]):
        expect.error(*await env.call("echo", other, idempotency_key=key), "IDEMPOTENCY_CONFLICT", "PERMANENT")
    assert await env.ok("echo", {"x": 1}, idempotency_key=key) == {"x": 1}, "a conflict spoilt the outcome"


@check("reliability")
async def order_and_encoding_are_no_difference(env):
    key, text = env.unique(), {"b": [1, {"z": None, "é": "ü"}], "a": 1.5}
    await env.ok("echo", text, idempotency_key=key, codec=MSGPACK)
    turned = {"a": 1.5, "b": [1, {"é": "ü", "z": None}]}
    again = expect.response(*await env.call("echo", turned, idempotency_key=key, codec=JSON))
    assert again["status"] == "ok" and again.get("replayed") is True, again


@check("reliability")
async def whole_floats_are_their_integers(env):
    """RFC 8785 writes 1.0 as 1."""
    key = env.unique()
    await env.ok("echo", {"x": 1}, idempotency_key=key)
    again = expect.response(*await env.call("echo", {"x": 1.0}, idempotency_key=key))
    assert again["status"] == "ok" and again.get("replayed") is True, again


@check("reliability")
async def key_belongs_to_one_action(env):
    key = env.unique()
    assert await env.ok("count", {"key": key}, idempotency_key=key) == {"count": 1}
    assert await env.ok("echo", {"key": key}, idempotency_key=key) == {"key": key}


@check("reliability")
async def temporary_error_releases_the_key(env):
    key = env.unique()
    parameters = {"key": env.unique(), "times": 1, "code": "BUSY_NOW", "category": "TEMPORARY"}
    expect.error(*await env.call("fail", parameters, idempotency_key=key), "BUSY_NOW", "TEMPORARY")
    again = expect.response(*await env.call("fail", parameters, idempotency_key=key))
    assert again["status"] == "ok" and again["result"] == {"calls": 2} and not again.get("replayed"), again


@check("reliability")
async def permanent_error_is_an_outcome(env):
    key = env.unique()
    parameters = {"key": env.unique(), "times": 1, "code": "NO_PAPER", "category": "PERMANENT"}
    first = expect.error(*await env.call("fail", parameters, idempotency_key=key), "NO_PAPER", "PERMANENT")
    command, frame = await env.call("fail", parameters, idempotency_key=key)
    assert expect.error(command, frame, "NO_PAPER") == first and frame.fields.get("replayed") is True, frame.fields


@check("reliability")
async def key_lengths(env):
    for key in ("x", "k" * 256, "ü" * 128, "with space.and>*/\n"):
        assert await env.ok("echo", 1, idempotency_key=key) == 1
    for key in ("", "k" * 257, "ü" * 129):
        expect.error(*await env.call("echo", 1, idempotency_key=key), "INVALID_MESSAGE", "PERMANENT")


@check("reliability", timeout=60, needs_mcpctl=True)
async def effect_runs_once(env):
    """The probe's own book: executions beside outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        name, path = env.unique("probe"), f"{folder}/effects"
        for _ in range(2):
            await env.start_probe(name, "--effects-file", path)
        commands = [env.peer.command(name, "effect", {"key": f"k{number % 20}"}, idempotency_key=f"k{number % 20}")
                    for number in range(200)]
        await asyncio.gather(*(env.peer.send(command) for command in commands))
        for command in commands:
            expect.ok(command, await env.peer.response(command.id, timeout=20))
        effects, runs = (open(file).read().splitlines() for file in (path, path + ".runs"))
        assert len(effects) == len({line.split()[0] for line in effects}) == 20, f"{len(effects)} effects of 20 keys"
        assert len(runs) == 20, f"{len(runs)} executions of 20 keys"
