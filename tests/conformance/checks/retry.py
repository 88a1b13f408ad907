"""Section 4: commands with `retry`, which the runtime itself tries again."""

import time

import expect
from mcp_peer import JSON
from registry import check

QUICK = {"max_retries": 3, "base_delay_ms": 20, "max_delay_ms": 200, "jitter": 0.5}


def failing(env, times, category="TEMPORARY", retry=QUICK, reply="reply", codec=JSON, **advice):
    parameters = {"key": env.unique(), "times": times, "code": "BUSY_NOW", "category": category} | advice
    return env.command("fail", parameters, retry=retry, reply=reply, codec=codec)


async def only_answer(env, command, timeout=12.0):
    """The one final frame, and nothing after it."""
    ack = await env.peer.send(command)
    frame = await env.peer.response(command.id, timeout)
    assert await env.peer.no_frame(command.id), "more than the final answer came"
    return ack, frame


@check("reliability")
async def retried_until_it_succeeds(env):
    command = failing(env, times=2)
    ack, frame = await only_answer(env, command)
    assert expect.ok(command, frame) == {"calls": 3}
    assert frame.fields["attempt"] == 3, f"attempt is {frame.fields['attempt']}"
    await env.peer.gone(ack.seq)


@check("reliability")
async def spent_retries_are_answered_and_buried(env):
    command = failing(env, times=99)
    ack, frame = await only_answer(env, command)
    expect.error(command, frame, "BUSY_NOW", "TEMPORARY")
    letter = await env.peer.dead_letter(ack.seq)
    errors = expect.dead_letter(letter, command, "BUSY_NOW", env.ns)
    assert letter.headers["Mcp-Attempts"] == "4", f"Mcp-Attempts is {letter.headers['Mcp-Attempts']}"
    assert [error["code"] for error in errors] == ["BUSY_NOW"] * 4, errors
    await env.peer.gone(ack.seq)


@check("reliability")
async def spent_retries_without_reply_to_are_buried(env):
    command = failing(env, times=99, reply=None, retry=QUICK | {"max_retries": 1})
    letter = await env.peer.dead_letter((await env.peer.send(command)).seq)
    expect.dead_letter(letter, command, "BUSY_NOW", env.ns)
    assert letter.headers["Mcp-Attempts"] == "2", f"Mcp-Attempts is {letter.headers['Mcp-Attempts']}"


@check("reliability")
async def no_retries_allowed(env):
    command = failing(env, times=1, retry=QUICK | {"max_retries": 0})
    ack, frame = await only_answer(env, command)
    expect.error(command, frame, "BUSY_NOW")
    assert (await env.peer.dead_letter(ack.seq)).headers["Mcp-Attempts"] == "1"


@check("reliability")
async def permanent_error_is_never_retried(env):
    command = failing(env, times=1, category="PERMANENT")
    ack, frame = await only_answer(env, command)
    expect.error(command, frame, "BUSY_NOW", "PERMANENT")
    letter = await env.peer.dead_letter(ack.seq)
    expect.dead_letter(letter, command, "BUSY_NOW", env.ns)
    assert letter.headers["Mcp-Attempts"] == "1", f"Mcp-Attempts is {letter.headers['Mcp-Attempts']}"


@check("reliability")
async def advised_delay_is_kept(env):
    command = failing(env, times=1, retry_delay_ms=1500)
    began = time.monotonic()
    _, frame = await only_answer(env, command)
    assert expect.ok(command, frame) == {"calls": 2}
    waited = time.monotonic() - began - 0.7  # the look for further frames
    assert waited >= 1.4, f"tried again after {waited:.2f} s against the advice of 1.5 s"


@check("reliability")
async def advised_limit_of_retries_is_kept(env):
    command = failing(env, times=99, max_retries=1, retry=QUICK | {"max_retries": 5})
    ack, frame = await only_answer(env, command)
    expect.error(command, frame, "BUSY_NOW")
    letter = await env.peer.dead_letter(ack.seq)
    assert letter.headers["Mcp-Attempts"] == "2", f"Mcp-Attempts is {letter.headers['Mcp-Attempts']}, the callee advised 1 retry"


@check("reliability", timeout=40)
async def long_delay_waits_as_a_delayed_command(env):
    command = failing(env, times=1, retry_delay_ms=7000, retry=QUICK | {"max_delay_ms": 10_000})
    began = time.monotonic()
    ack = await env.peer.send(command)
    await env.peer.gone(ack.seq)
    waiting = await env.peer.stored(f"{env.ns}_commands", last_by_subj=f"{env.ns}.delay.{env.agent}.{command.id}")
    assert waiting, f"nothing on {env.ns}.delay.{env.agent}.{command.id}"
    assert waiting.headers["Nats-Schedule-Target"] == command.subject, waiting.headers
    assert waiting.headers.get("Mcp-Age-Ms", "").isdigit(), f"Mcp-Age-Ms is {waiting.headers.get('Mcp-Age-Ms')!r}"
    frame = await env.peer.response(command.id, timeout=15)
    assert expect.ok(command, frame) == {"calls": 2}
    assert frame.fields["attempt"] == 2, f"attempt is {frame.fields['attempt']}"
    assert time.monotonic() - began >= 6.9, "sooner than advised"


@check("reliability")
async def ttl_ends_the_retries(env):
    command = failing(env, times=99, retry=QUICK | {"max_retries": 50, "base_delay_ms": 300, "max_delay_ms": 300})
    command.fields["ttl_ms"] = 1500
    ack, frame = await only_answer(env, command)
    expect.error(command, frame)
    letter = await env.peer.dead_letter(ack.seq)
    assert int(letter.headers["Mcp-Attempts"]) < 30, "went on long after its ttl_ms"
