"""Sections 3, 4 and 6: bodies that are no version 1 command, or disagree with their subject."""

import expect
from mcp_peer import JSON, MSGPACK, encode, uuid7
from registry import check

REQUIRED = ("v", "kind", "id", "source", "target", "action", "created_at")


async def is_refused(env, command, what):
    """Answered INVALID_MESSAGE and let go of by the work queue."""
    queue_key = command.fields["reply_to"].rsplit(".", 1)[-1]
    ack = await env.peer.send(command)
    try:
        expect.invalid(command, await env.peer.response(queue_key, timeout=5))
    except TimeoutError as error:
        raise AssertionError(f"{what}: no answer to the reply_to that can be read") from error
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
    await env.peer.gone(ack.seq)
    return ack


def echo(env, codec=MSGPACK, **fields):
    return env.command("echo", {"x": 1}, codec=codec, **fields)


async def each_is_refused(env, rows):
    for codec in (JSON, MSGPACK):
        for fields in rows:
            await is_refused(env, echo(env, codec, **fields), f"{fields} in {codec}")
    await env.alive()


@check()
async def body_that_disagrees_with_its_subject(env):
    await each_is_refused(env, [{"target": "someone_else"}, {"action": "count"}, {"priority": "high"}])


@check()
async def priority_left_out_disagrees_with_another_lane(env):
    """The default is `normal`, and it must agree with the subject."""
    command = env.command("echo", {}, lane="high")
    del command.fields["priority"]
    await is_refused(env, command, "no priority on the lane high")


@check()
async def unknown_priority_in_the_body(env):
    await each_is_refused(env, [{"priority": "urgent"}, {"priority": ""}, {"priority": "NORMAL"}])


@check()
async def other_versions_and_kinds(env):
    await each_is_refused(env, [{"v": 2}, {"v": 0}, {"v": "1"}, {"kind": "event"}, {"kind": "Command"}])


@check(timeout=40)
async def missing_required_field(env):
    for codec in (JSON, MSGPACK):
        for name in REQUIRED:
            command = echo(env, codec)
            del command.fields[name]
            ack = await is_refused(env, command, f"without {name} in {codec}")
            assert await env.peer.dead_letter(ack.seq)
    await env.alive()


@check(timeout=40)
async def wrong_types(env):
    await each_is_refused(env, [
        {"id": 5}, {"id": None}, {"source": ["a"]}, {"source": 1}, {"target": 1}, {"action": {}}, {"kind": 1},
        {"priority": 2}, {"created_at": "yesterday"}, {"created_at": None}, {"ttl_ms": "1s"}, {"ttl_ms": -1},
        {"attempt": "first"}, {"attempt": -1}, {"idempotency_key": 7}, {"retry": "yes"}, {"retry": {"max_retries": "x"}},
        {"conversation_id": 1}, {"causation_id": []}])


@check()
async def malformed_ids(env):
    rows = ["not-a-uuid", "", uuid7().upper(), uuid7().replace("-", ""), "*", "a b"]
    await each_is_refused(env, [{"id": value} for value in rows])


@check()
async def malformed_source(env):
    await each_is_refused(env, [{"source": value} for value in ("", "Has Space", "a.b", "x" * 65, "*")])


async def is_buried(env, command, what):
    """Stored among the dead letters byte for byte, and gone from the work queue."""
    ack = await env.peer.send(command)
    try:
        expect.dead_letter(await env.peer.dead_letter(ack.seq), command, "INVALID_MESSAGE", env.ns)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
    await env.peer.gone(ack.seq)


@check()
async def positional_array_is_no_command(env):
    for codec in (JSON, MSGPACK):
        command = echo(env, codec)
        command.raw = encode(list(command.fields.values()), codec)
        await is_buried(env, command, f"positional array in {codec}")
    await env.alive()


@check()
async def trailing_bytes_are_refused(env):
    for codec, tail in ((MSGPACK, b"\x00"), (MSGPACK, b"\xc1junk"), (JSON, b"x"), (JSON, b"{}")):
        command = echo(env, codec)
        command.raw = command.body() + tail
        await is_buried(env, command, f"{tail!r} after the {codec} body")
        if not await env.peer.no_frame(command.id, 0.1):
            expect.invalid(command, await env.peer.response(command.id))
    await env.alive()


@check()
async def json_without_its_content_type_is_undecodable(env):
    """The default is msgpack, whatever the body looks like."""
    command = echo(env, JSON)
    del command.headers["Content-Type"]
    await is_buried(env, command, "JSON without Content-Type")


@check()
async def invalid_without_reply_to_is_a_dead_letter(env):
    for fields in ({"target": "someone_else"}, {"v": 2}, {"id": 5}, {"action": "count"}):
        command = env.command("echo", {}, reply=None, **fields)
        await is_buried(env, command, f"{fields}")
