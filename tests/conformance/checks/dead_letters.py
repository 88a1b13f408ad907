"""Section 4: what ends among the dead letters, and what an autopsy finds there."""

import asyncio

import expect
from mcp_peer import JSON, MSGPACK
from registry import check

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@check()
async def undecodable_body_is_kept_byte_for_byte(env):
    for codec in (JSON, MSGPACK):
        command = env.command("echo", {}, codec=codec)
        command.raw = b"\xc1\xff\x00 not a command \r\n\x80" + bytes(range(256))
        command.headers["traceparent"] = TRACEPARENT
        ack = await env.peer.send(command)
        letter = await env.peer.dead_letter(ack.seq)
        expect.dead_letter(letter, command, "INVALID_MESSAGE", env.ns)
        assert letter.subject == f"{env.ns}.dead.{env.agent}.echo", f"subject is {letter.subject}"
        await env.peer.gone(ack.seq)
    await env.alive()


@check()
async def empty_body_is_a_dead_letter(env):
    command = env.command("echo", {})
    command.raw = b""
    ack = await env.peer.send(command)
    expect.dead_letter(await env.peer.dead_letter(ack.seq), command, "INVALID_MESSAGE", env.ns)
    await env.peer.gone(ack.seq)


@check()
async def undecodable_is_answered_where_reply_to_can_be_read(env):
    """The id has the wrong type, so the body is no command; its reply_to is sound all the same."""
    for codec in (JSON, MSGPACK):
        command = env.command("echo", {}, codec=codec)
        key, command.fields["id"] = command.id, 5
        ack = await env.peer.send(command)
        expect.invalid(command, await env.peer.response(key))
        expect.dead_letter(await env.peer.dead_letter(ack.seq), command, "INVALID_MESSAGE", env.ns)


def failing(env, category, **kwargs):
    parameters = {"key": env.unique(), "times": 9, "code": "NO_PAPER", "category": category}
    command = env.command("fail", parameters, **kwargs)
    command.headers |= {"traceparent": TRACEPARENT, "X-Mine": "kept"}
    return command


@check()
async def permanent_failure_without_reply_to(env):
    for codec in (JSON, MSGPACK):
        command = failing(env, "PERMANENT", reply=None, codec=codec)
        ack = await env.peer.send(command)
        letter = await env.peer.dead_letter(ack.seq)
        errors = expect.dead_letter(letter, command, "NO_PAPER", env.ns)
        assert letter.headers["Mcp-Attempts"] == "1", f"Mcp-Attempts is {letter.headers['Mcp-Attempts']}"
        assert [error["code"] for error in errors] == ["NO_PAPER"], errors
        await env.peer.gone(ack.seq)


@check()
async def permanent_failure_with_reply_to_is_only_answered(env):
    command = failing(env, "PERMANENT")
    ack = await env.peer.send(command)
    expect.error(command, await env.peer.response(command.id), "NO_PAPER", "PERMANENT")
    await env.peer.gone(ack.seq)
    assert not await env.peer.has_dead_letter(ack.seq), "answered, without `retry`, yet among the dead letters"


@check()
async def temporary_failure_that_nobody_retries(env):
    """Neither `reply_to` nor `retry`: nobody retries, so the command fails for good."""
    command = failing(env, "TEMPORARY", reply=None)
    ack = await env.peer.send(command)
    expect.dead_letter(await env.peer.dead_letter(ack.seq), command, "NO_PAPER", env.ns)
    await env.peer.gone(ack.seq)


@check()
async def other_failures_without_reply_to(env):
    for action, parameters, reason in (("no_such_action", {}, "UNKNOWN_ACTION"), ("sleep", {}, "INVALID_PARAMETERS"),
                                       ("panic", {}, "HANDLER_PANICKED")):
        command = env.command(action, parameters, reply=None)
        ack = await env.peer.send(command)
        letter = await env.peer.dead_letter(ack.seq)
        expect.dead_letter(letter, command, reason, env.ns)
        assert letter.subject == f"{env.ns}.dead.{env.agent}.{action}", f"subject is {letter.subject}"
        await env.peer.gone(ack.seq)


@check()
async def success_without_reply_to_leaves_nothing(env):
    key = env.unique()
    command = env.command("count", {"key": key}, reply=None)
    ack = await env.peer.send(command)
    await env.peer.gone(ack.seq)
    assert await env.ok("count", {"key": key}) == {"count": 2}
    assert not await env.peer.has_dead_letter(ack.seq)


@check()
async def nats_headers_are_renamed_not_copied(env):
    """A copied `Nats-Expected-Stream` would make the server refuse the dead letter, and the evidence be lost."""
    command = failing(env, "PERMANENT", reply=None)
    command.headers["Nats-Expected-Stream"] = f"{env.ns}_commands"
    ack = await env.peer.send(command)
    letter = await env.peer.dead_letter(ack.seq)
    expect.dead_letter(letter, command, "NO_PAPER", env.ns)
    left = [name for name in letter.headers if name.startswith("Nats-") and name != "Nats-Msg-Id"]
    assert not left, f"copied: {left}"


REFUSED_REPLY_TO = ("elsewhere.{ns}.reply.x", "{ns}.replyx.a", "{ns}other.reply.a", "INBOX.a", "_INBOXES", "_inbox.a",
                    "{ns}.cmd.probe.normal.echo", "{ns}.evt.a.b", "$JS.API.INFO", "{ns}.reply", "_INBOX.>",
                    "{ns}.reply.*", "_INBOX.a b", "_INBOX.a\r\nPUB stolen 0\r\n", "_INBOX..a", "_INBOX.a.", "")


@check(timeout=60)
async def reply_to_elsewhere_is_never_published_to(env):
    heard, sent = [], set()

    async def listen(message):
        if (message.headers or {}).get("Nats-Msg-Id", "") not in sent:
            heard.append(message.subject)

    patterns = ("elsewhere.>", f"{env.ns}.replyx.>", f"{env.ns}other.>", "INBOX.>", "_INBOXES", "_inbox.>", "stolen",
                f"{env.ns}.cmd.{env.agent}.>", f"{env.ns}.evt.a.b", f"{env.ns}.reply", "_INBOX.a.>", "_INBOX.a")
    for pattern in patterns:
        await env.peer.nc.subscribe(pattern, cb=listen)
    for form in REFUSED_REPLY_TO:
        command = env.command("echo", {}, reply=None, reply_to=form.format(ns=env.ns))
        sent.add(command.headers["Nats-Msg-Id"])
        await env.peer.gone((await env.peer.send(command)).seq)
    await asyncio.sleep(0.5)
    assert not heard, f"published to {heard}"
    await env.alive()


@check(timeout=60)
async def reply_to_elsewhere_makes_a_command_invalid(env):
    """It must lie under the allowed roots: else it is no version 1 command, and there is no way to answer that."""
    for form in REFUSED_REPLY_TO:
        command = env.command("echo", {}, reply=None, reply_to=form.format(ns=env.ns))
        ack = await env.peer.send(command)
        try:
            expect.dead_letter(await env.peer.dead_letter(ack.seq, timeout=4), command, "INVALID_MESSAGE", env.ns)
        except AssertionError as error:
            raise AssertionError(f"reply_to {command.fields['reply_to']!r}: {error}") from error
