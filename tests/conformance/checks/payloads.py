"""Section 3: bodies over 256 KiB travel by claim check, both ways and among the dead letters."""

import hashlib

import expect
from mcp_peer import CLAIM_CHECK_BYTES, JSON, MSGPACK
from registry import check


@check("reliability", timeout=30)
async def large_command_and_reply_by_claim_check(env):
    for codec in (MSGPACK, JSON):
        value = {"text": "ü" * 400_000}
        command = env.command("echo", value, codec=codec)
        await env.peer.check_in(command)
        ack = await env.peer.send(command)
        frame = await env.peer.response(command.id, timeout=12)
        assert expect.ok(command, frame) == value, "the large value changed"
        assert frame.headers.get("Mcp-Payload") == frame.fields["id"], "the reply's object is not named after its id"
        await env.peer.gone(ack.seq)
        store = await env.peer.js.object_store(f"{env.ns}_payloads")
        assert (await store.get(command.id)).data, "the reader removed the object"


@check("reliability", timeout=30)
async def large_reply_to_a_small_command(env):
    command, frame = await env.call("bytes", {"n": 3_000_000}, timeout=15)
    assert len(expect.ok(command, frame)) == 3_000_000
    assert "Mcp-Payload" in frame.headers, "3 MB without a claim check"


@check("reliability")
async def small_reply_travels_inline(env):
    _, frame = await env.call("bytes", {"n": CLAIM_CHECK_BYTES // 2})
    assert "Mcp-Payload" not in frame.headers, f"{CLAIM_CHECK_BYTES // 2} bytes by claim check"


@check("reliability", timeout=40)
async def claim_check_that_cannot_be_redeemed(env):
    """No such object, another hash, another size: never executed, and never redelivered without end."""
    key = env.unique()
    for damage in ({"Mcp-Payload": "no-such-object"}, {"Mcp-Payload-Sha256": hashlib.sha256(b"other").hexdigest()},
                   {"Mcp-Payload-Size": "5"}, {"Mcp-Payload-Size": "many"}):
        command = env.command("count", {"key": key, "fill": "x" * CLAIM_CHECK_BYTES})
        await env.peer.check_in(command)
        command.headers |= damage
        ack = await env.peer.send(command)
        await env.peer.gone(ack.seq, timeout=15)
        await env.peer.dead_letter(ack.seq)
    assert await env.ok("count", {"key": key}) == {"count": 1}, "executed on a damaged payload"


@check("reliability", timeout=30)
async def large_undecodable_body_is_kept_byte_for_byte(env):
    """Close to the server's limit there is no room for the autopsy headers: the dead letter takes the claim check."""
    command = env.command("echo", {})
    command.raw = b"\xc1" + bytes(range(256)) * 4090
    ack = await env.peer.send(command)
    letter = await env.peer.dead_letter(ack.seq, timeout=15)
    letter.data = await env.peer.claim(letter.headers, letter.data)
    expect.dead_letter(letter, command, "INVALID_MESSAGE", env.ns)
    await env.peer.gone(ack.seq)


@check("reliability", timeout=30)
async def large_outcome_is_replayed(env):
    key = env.unique()
    for replayed in (False, True):
        command, frame = await env.call("bytes", {"n": 600_000}, idempotency_key=key, timeout=12)
        assert len(expect.ok(command, frame)) == 600_000
        assert bool(frame.fields.get("replayed")) == replayed, f"replayed is {frame.fields.get('replayed')!r}"
