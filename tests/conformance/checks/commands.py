"""Sections 2 and 3: commands and replies as they should go, and the errors an action answers."""

import asyncio
import re

import expect
from mcp_peer import JSON, LANES, MSGPACK, uuid7
from registry import check

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@check()
async def echo_durable_msgpack(env):
    assert await env.ok("echo", {"word": "hello"}, codec=MSGPACK) == {"word": "hello"}


@check()
async def echo_durable_json(env):
    assert await env.ok("echo", {"word": "hello"}, codec=JSON) == {"word": "hello"}


@check()
async def missing_content_type_is_msgpack(env):
    command = env.command("echo", {"word": "hello"})
    del command.headers["Content-Type"]
    await env.peer.send(command)
    assert expect.ok(command, await env.peer.response(command.id)) == {"word": "hello"}


@check()
async def answered_command_leaves_the_work_queue(env):
    command = env.command("echo", {})
    ack = await env.peer.send(command)
    expect.ok(command, await env.peer.response(command.id))
    await env.peer.gone(ack.seq)
    assert not await env.peer.has_dead_letter(ack.seq), "an answered command is among the dead letters"


@check()
async def reply_frame_fields(env):
    for codec in (JSON, MSGPACK):
        command, frame = await env.call("echo", {"x": 1}, codec=codec)
        expect.ok(command, frame)
        assert frame.fields["attempt"] == 1, frame.fields["attempt"]
        assert not frame.fields.get("replayed"), "a first execution says it is replayed"


@check()
async def reply_carries_load(env):
    _, frame = await env.call("echo", {})
    expect.load(frame.fields.get("load"))


@check()
async def one_response_only(env):
    command, frame = await env.call("echo", {})
    expect.ok(command, frame)
    assert await env.peer.no_frame(command.id), "a second frame came for one command"


@check()
async def reply_to_an_inbox(env):
    assert await env.ok("echo", [1], reply="inbox") == [1]


@check()
async def realtime_echo(env):
    for reply in ("reply", "inbox"):
        for codec in (JSON, MSGPACK):
            command = env.command("echo", {"way": reply}, reply=reply, codec=codec)
            await env.peer.send_realtime(command)
            assert expect.ok(command, await env.peer.response(command.id)) == {"way": reply}


@check()
async def realtime_errors_are_answered(env):
    command = env.command("no_such_action", {})
    await env.peer.send_realtime(command)
    expect.error(command, await env.peer.response(command.id), "UNKNOWN_ACTION", "PERMANENT")
    command = env.command("echo", {}, target="someone_else")
    await env.peer.send_realtime(command)
    expect.invalid(command, await env.peer.response(command.id))


@check()
async def all_four_lanes(env):
    for lane in LANES:
        assert await env.ok("echo", lane, lane=lane) == lane


@check()
async def priority_defaults_to_normal(env):
    command = env.command("echo", "x")
    del command.fields["priority"]
    await env.peer.send(command)
    assert expect.ok(command, await env.peer.response(command.id)) == "x"


@check()
async def traceparent_is_accepted(env):
    # The last two are malformed: a broken trace must not cost the command.
    for value in (TRACEPARENT, "00-xyz", ""):
        command = env.command("echo", {})
        command.headers |= {"traceparent": value, "tracestate": "vendor=1"}
        await env.peer.send(command)
        expect.ok(command, await env.peer.response(command.id))


@check()
async def unknown_fields_and_headers_are_ignored(env):
    for codec in (JSON, MSGPACK):
        command = env.command("echo", {"x": 1}, codec=codec, from_the_future={"deep": [1, None]}, zzz=True)
        command.headers["Mcp-From-The-Future"] = "yes"
        await env.peer.send(command)
        assert expect.ok(command, await env.peer.response(command.id)) == {"x": 1}


@check()
async def optional_fields_are_accepted(env):
    assert await env.ok("echo", 1, ttl_ms=60_000, attempt=1, conversation_id="talk-1", causation_id=uuid7()) == 1


@check()
async def attempt_is_returned(env):
    command, frame = await env.call("echo", {}, attempt=3)
    expect.ok(command, frame)
    assert frame.fields["attempt"] == 3, f"attempt is {frame.fields['attempt']}"


@check()
async def identical_publish_is_done_once(env):
    key = env.unique()
    command = env.command("count", {"key": key})
    first, second = await env.peer.send(command), await env.peer.send(command)
    assert second.duplicate and second.seq == first.seq, f"the server stored both: {second}"
    assert expect.ok(command, await env.peer.response(command.id)) == {"count": 1}
    assert await env.ok("count", {"key": key}) == {"count": 2}


@check()
async def progress_frames_come_numbered_before_the_response(env):
    for codec in (JSON, MSGPACK):
        command = env.command("progress", {"steps": 5, "ms": 20}, codec=codec)
        await env.peer.send(command)
        *progress, response = await env.peer.frames(command.id)
        expect.ok(command, response)
        assert [frame.fields.get("seq") for frame in progress] == [1, 2, 3, 4, 5], [f.fields for f in progress]
        for frame in progress:
            fields = expect.shape(command, frame)
            assert fields["kind"] == "progress" and fields.get("status") is None, fields
            report = fields["progress"]
            assert isinstance(report, dict), f"progress is {report!r}"
            fraction = report.get("fraction")
            assert fraction is None or expect.is_number(fraction) and 0 <= fraction <= 1, f"fraction is {fraction!r}"
            assert report.get("note") is None or isinstance(report["note"], str), f"note is {report['note']!r}"


@check()
async def failing_action_answers_its_error(env):
    for codec in (JSON, MSGPACK):
        for category in expect.CATEGORIES:
            parameters = {"key": env.unique(), "times": 1, "code": "PAPER_JAM", "category": category}
            command, frame = await env.call("fail", parameters, codec=codec)
            expect.error(command, frame, "PAPER_JAM", category)


@check()
async def advice_of_the_callee_is_carried(env):
    advice = {"retry_delay_ms": 750, "max_retries": 2}
    parameters = {"key": env.unique(), "times": 1, "code": "BUSY_NOW", "category": "TEMPORARY"} | advice
    error = expect.error(*await env.call("fail", parameters), "BUSY_NOW", "TEMPORARY")
    assert {name: error.get(name) for name in advice} == advice, error


@check()
async def answered_failure_is_acknowledged_and_not_retried(env):
    key = env.unique()
    parameters = {"key": key, "times": 1, "code": "BUSY_NOW", "category": "TEMPORARY"}
    command = env.command("fail", parameters)
    ack = await env.peer.send(command)
    expect.error(command, await env.peer.response(command.id), "BUSY_NOW")
    await env.peer.gone(ack.seq)
    assert await env.peer.no_frame(command.id), "answered again: the requester retries, not the worker"
    assert not await env.peer.has_dead_letter(ack.seq), "answered TEMPORARY failure among the dead letters"
    assert await env.ok("fail", parameters) == {"calls": 2}


@check()
async def unknown_action_lists_the_actions(env):
    error = expect.error(*await env.call("no_such_action", {}), "UNKNOWN_ACTION", "PERMANENT")
    listed = (error.get("details") or {}).get("actions")
    assert isinstance(listed, list), f"details is {error.get('details')!r}"
    names = {item["name"] if isinstance(item, dict) else item for item in listed}
    missing = {"echo", "sleep", "fail", "count", "effect", "bytes", "progress", "panic"} - names
    assert not missing, f"details.actions lacks {sorted(missing)}"


@check()
async def unreadable_parameters_name_the_field(env):
    for action, parameters, field in (("sleep", {}, "ms"), ("sleep", {"ms": "soon"}, "ms"), ("count", {}, "key"),
                                      ("count", {"key": 5}, "key"), ("bytes", {"n": -1}, "n")):
        error = expect.error(*await env.call(action, parameters), "INVALID_PARAMETERS", "PERMANENT")
        details = error.get("details")
        assert re.search(rf"\b{field}\b", repr(details)), f"{action} {parameters}: details {details!r} name no {field}"
    expect.error(*await env.call("sleep", "not a map"), "INVALID_PARAMETERS", "PERMANENT")


@check()
async def panicking_handler_is_answered_and_the_agent_goes_on(env):
    expect.error(*await env.call("panic", {}), "HANDLER_PANICKED", "TEMPORARY")
    await env.alive()
    command = env.command("panic", {})
    await env.peer.send_realtime(command)
    expect.error(command, await env.peer.response(command.id), "HANDLER_PANICKED", "TEMPORARY")
    await env.alive()


@check()
async def hundred_commands_at_once(env):
    commands = [env.command("echo", number, lane=LANES[number % 4], codec=(JSON, MSGPACK)[number % 2])
                for number in range(100)]
    await asyncio.gather(*(env.peer.send(command) for command in commands))
    for number, command in enumerate(commands):
        assert expect.ok(command, await env.peer.response(command.id)) == number


@check(timeout=40)
async def long_work_keeps_its_lease(env):
    """Longer than `ack_wait`: in-progress acks must keep the message from a second delivery."""
    command = env.command("sleep", {"ms": 13_000}, lane="low")
    await env.peer.send(command)
    expect.ok(command, await env.peer.response(command.id, timeout=20))
    info = await env.peer.api(f"CONSUMER.INFO.{env.ns}_commands.{env.agent}_low")
    assert info["num_redelivered"] == 0, f"{info['num_redelivered']} redelivered"
    assert await env.peer.no_frame(command.id), "executed twice"


@check()
async def delayed_command_is_done_when_due(env):
    command = env.command("echo", {"late": True})
    due = asyncio.get_running_loop().time() + 1.5
    await env.peer.delay(command, 1.5)
    assert expect.ok(command, await env.peer.response(command.id)) == {"late": True}
    early = due - asyncio.get_running_loop().time()
    assert early < 0.3, f"done {early:.2f} s before it was due"
