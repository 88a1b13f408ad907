"""Section 3, packs: several commands in one message."""

import expect
from mcp_peer import JSON, MSGPACK, encode, uuid7
from registry import check


def pack(env, members, lane="normal"):
    """Makes one message of commands of one lane."""
    message = env.peer.command(env.agent, "pack", lane=lane, reply=None)
    message.raw = encode([[member.headers, member.body()] for member in members], MSGPACK)
    message.headers = {"Nats-Msg-Id": uuid7(), "Mcp-Pack": str(len(members)), "Content-Type": MSGPACK}
    return message


@check("packs")
async def members_of_a_pack_are_answered_each(env):
    for lane in ("normal", "critical"):
        members = [env.command("echo", number, lane=lane, codec=(JSON, MSGPACK)[number % 2]) for number in range(50)]
        ack = await env.peer.send(pack(env, members, lane))
        for number, member in enumerate(members):
            assert expect.ok(member, await env.peer.response(member.id)) == number
        await env.peer.gone(ack.seq)


@check("packs")
async def bad_member_spoils_no_other(env):
    good = [env.command("echo", number) for number in range(4)]
    broken = env.command("echo", {})
    broken.raw = b"\xc1\x00"
    refused, failing = env.command("no_such_action", {}), env.command("panic", {})
    mismatched = env.command("echo", {}, lane="high")
    ack = await env.peer.send(pack(env, [good[0], broken, good[1], refused, good[2], failing, mismatched, good[3]]))
    for number, member in enumerate(good):
        assert expect.ok(member, await env.peer.response(member.id)) == number
    expect.error(refused, await env.peer.response(refused.id), "UNKNOWN_ACTION", "PERMANENT")
    expect.error(failing, await env.peer.response(failing.id), "HANDLER_PANICKED", "TEMPORARY")
    expect.invalid(mismatched, await env.peer.response(mismatched.id))
    await env.peer.gone(ack.seq)


@check("packs", timeout=40)
async def pack_larger_than_the_capacity(env):
    capacity = await env.capacity()
    members = [env.command("sleep", {"ms": 100}) for _ in range(min(capacity * 2 + 5, 500))]
    ack = await env.peer.send(pack(env, members))
    for member in members:
        expect.ok(member, await env.peer.response(member.id, timeout=20))
    await env.peer.gone(ack.seq)


@check("packs")
async def member_of_a_pack_is_retried(env):
    retry = {"max_retries": 2, "base_delay_ms": 200, "max_delay_ms": 400, "jitter": 0.0}
    parameters = {"key": env.unique(), "times": 1, "code": "BUSY_NOW", "category": "TEMPORARY"}
    member, other = env.command("fail", parameters, retry=retry), env.command("echo", {})
    ack = await env.peer.send(pack(env, [member, other]))
    expect.ok(other, await env.peer.response(other.id))
    assert expect.ok(member, await env.peer.response(member.id)) == {"calls": 2}
    await env.peer.gone(ack.seq)


@check("packs")
async def broken_pack_is_a_dead_letter(env):
    good = env.command("echo", 1)
    for raw in (b"\xc1", encode({"not": "an array"}, MSGPACK), encode([["one"]], MSGPACK), encode([1, 2], MSGPACK)):
        message = pack(env, [good])
        message.raw = raw
        ack = await env.peer.send(message)
        expect.dead_letter(await env.peer.dead_letter(ack.seq), message, "INVALID_MESSAGE", env.ns)
        await env.peer.gone(ack.seq)
    await env.alive()
