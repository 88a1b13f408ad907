"""Bad input in quantity and size: whatever is stored under the agent's subjects, the agent goes on."""

import random

import expect
from mcp_peer import JSON, LANES, MSGPACK
from registry import check

BOMBS = {
    "deep msgpack arrays": (MSGPACK, b"\x91" * 100_000), "deep msgpack maps": (MSGPACK, b"\x81\xa1a" * 50_000),
    "absurd array length": (MSGPACK, b"\xdd\xff\xff\xff\xff"), "absurd map length": (MSGPACK, b"\xdf\xff\xff\xff\xff"),
    "absurd bin length": (MSGPACK, b"\xc6\xff\xff\xff\xff"), "absurd str length": (MSGPACK, b"\xdb\xff\xff\xff\xff"),
    "all nils": (MSGPACK, b"\xdd\x00\x03\x00\x00" + b"\xc0" * 0x30000), "reserved byte": (MSGPACK, b"\xc1"),
    "ext type": (MSGPACK, b"\xd4\x01\x00"), "deep JSON": (JSON, b"[" * 100_000), "deep JSON maps": (JSON, b'{"a":' * 50_000),
    "JSON null": (JSON, b"null"), "JSON not UTF-8": (JSON, b'{"v":1,"kind":"\xff\xfe"}'), "JSON NaN": (JSON, b'{"v":NaN}'),
    "JSON huge number": (JSON, b'{"v":1e999999}'), "lone surrogate": (JSON, b'{"v":1,"kind":"\\ud800"}'),
}


@check(timeout=60)
async def bombs_become_dead_letters(env):
    for name, (codec, body) in BOMBS.items():
        command = env.command("echo", {}, codec=codec)
        command.raw = body
        ack = await env.peer.send(command)
        try:
            expect.dead_letter(await env.peer.dead_letter(ack.seq), command, "INVALID_MESSAGE", env.ns)
            await env.peer.gone(ack.seq)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
    await env.alive()


@check(timeout=600)
async def random_bodies_become_dead_letters(env):
    """`--fuzz N` random byte strings of seed `--seed` on all lanes; then mutations of good commands."""
    count, seed = env.arguments.fuzz, env.arguments.seed
    print(f"# {count} random bodies, seed {seed}", flush=True)
    source = random.Random(seed)
    waiting = []
    for number in range(count):
        command = env.command("echo", {}, lane=LANES[number % 4], codec=(MSGPACK, JSON)[number % 2])
        command.raw = source.randbytes(source.choice((1, 2, 5, 20, 100, 400, 3000)))
        waiting.append((await env.peer.send(command), command))
    for ack, command in waiting:
        expect.dead_letter(await env.peer.dead_letter(ack.seq, timeout=60), command, "INVALID_MESSAGE", env.ns)
        await env.peer.gone(ack.seq)
    await env.alive()


@check(timeout=600)
async def mutated_commands_are_settled(env):
    """A mutation may still be a good command: only that each leaves the queue and the agent goes on is asked."""
    source = random.Random(env.arguments.seed + 1)
    acks = []
    for number in range(env.arguments.fuzz):
        command = env.command("echo", {"x": [1, "two", 3.0]}, lane=LANES[number % 4], codec=(MSGPACK, JSON)[number % 2],
                              ttl_ms=60_000, retry={"max_retries": 1, "base_delay_ms": 1, "max_delay_ms": 5, "jitter": 0.5})
        body = bytearray(command.body())
        for _ in range(source.choice((1, 1, 2, 8))):
            body[source.randrange(len(body))] = source.randrange(256)
        command.raw = bytes(body[:source.choice((len(body), len(body), source.randrange(len(body)))) or 1])
        acks.append(await env.peer.send(command))
    for ack in acks:
        await env.peer.gone(ack.seq, timeout=60)
    await env.alive()


@check(timeout=60)
async def random_realtime_bodies_are_survived(env):
    source = random.Random(env.arguments.seed + 2)
    for _ in range(200):
        await env.peer.nc.publish(f"{env.ns}.rt.{env.agent}.echo", source.randbytes(source.randrange(300)))
    for verb in ("cancel", "drain", "no_such_verb"):
        # A drain that cannot be read must not drain; an empty body could be read as one without `instance`.
        await env.peer.nc.publish(f"{env.ns}.ctl.{env.agent}.{verb}", b"\xc1" + source.randbytes(30))
    await env.alive()


@check(timeout=40)
async def odd_subjects_are_settled(env):
    """More tokens than the page has, or a name out of its form: the message matches the filter, so it must be settled."""
    for tail in ("echo.extra", "echo.a.b.c", "ECHO", "echo$", "é", "x" * 100, "_echo"):
        command = env.command("echo", {}, reply=None)
        command.subject = f"{env.ns}.cmd.{env.agent}.normal.{tail}"
        ack = await env.peer.send(command)
        try:
            await env.peer.gone(ack.seq)
            letter = await env.peer.dead_letter(ack.seq)
        except AssertionError as error:
            raise AssertionError(f"subject tail {tail!r}: {error}") from error
        assert letter.data == command.body(), f"subject tail {tail!r}: body changed"
    await env.alive()


@check()
async def unknown_lane_is_never_executed(env):
    """No consumer has that lane: the stream keeps the message (or it is a dead letter); nobody runs it."""
    key = env.unique()
    command = env.command("count", {"key": key}, lane="urgent")
    ack = await env.peer.send(command)
    assert await env.peer.no_frame(command.id), "answered a command on a lane that is none"
    assert await env.ok("count", {"key": key}) == {"count": 1}, "executed a command on a lane that is none"
    await env.peer.api(f"STREAM.MSG.DELETE.{env.ns}_commands", {"seq": ack.seq})


@check(timeout=40)
async def inline_body_over_the_claim_check_bound(env):
    """A sender should have used the claim check. It may be answered or refused, but not lost, and the agent goes on."""
    for size in (300 * 1024, 900 * 1024):
        for codec in (MSGPACK, JSON):
            command = env.command("echo", {"text": "x" * size}, codec=codec)
            ack = await env.peer.send(command)
            await env.peer.gone(ack.seq)
            frame = await env.peer.response(command.id)
            if frame.fields.get("status") == "ok":
                assert expect.ok(command, frame) == {"text": "x" * size}, "echo returned something else"
            else:
                expect.error(command, frame, category="PERMANENT")
    await env.alive()


@check(timeout=40)
async def result_too_large_is_not_lost(env):
    """By claim check, or refused with an error; never silence."""
    command, frame = await env.call("bytes", {"n": 2_000_000}, timeout=15)
    if frame.fields.get("status") == "ok":
        assert len(expect.ok(command, frame)) == 2_000_000
    else:
        expect.error(command, frame, "PAYLOAD_TOO_LARGE", "PERMANENT")
    await env.alive()
