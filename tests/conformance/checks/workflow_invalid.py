"""Sections 4 and 8: tasks that cannot be read, or disagree with their subject, are kept byte for byte; the engine goes on."""

import asyncio
import random

import expect
from mcp_peer import JSON, MSGPACK, encode, uuid7
from registry import check
from workflow_peer import DEFINITION, Workflow


async def goes_on(env):
    """The engine still runs a workflow."""
    flow = await Workflow.new(env)
    await flow.at_gate()


async def is_dead(env, flow, task, ack):
    """Among the dead letters, byte for byte, and off the queue."""
    letter = await env.peer.dead_letter(ack.seq, queue=flow.queue)
    expect.dead_letter(letter, task, "INVALID_MESSAGE", env.ns)
    assert letter.subject == f"{env.ns}.dead.workflow.{DEFINITION}", f"subject is {letter.subject}"
    await flow.gone(ack)


@check("workflow")
async def undecodable_task_is_a_dead_letter(env):
    for codec in (MSGPACK, JSON):
        for kind in ("start", "signal"):
            flow = await Workflow.new(env)
            task = flow.task(kind, codec=codec, message_id=uuid7())
            task.raw = b"\xc1\xff\x00 no task \r\n\x80" + bytes(range(256))
            task.headers["X-Mine"] = "kept"
            await is_dead(env, flow, task, await flow.send(task))
            assert await flow.record() is None, "something undecodable made a record"
    await goes_on(env)


@check("workflow")
async def empty_task_and_what_is_no_map_are_dead_letters(env):
    for raw in (b"", b"\xc0", encode([1, "task"], MSGPACK), encode("start", MSGPACK), encode({}, MSGPACK)):
        flow = await Workflow.new(env)
        task = flow.task("start", message_id=uuid7())
        task.raw = raw
        await is_dead(env, flow, task, await flow.send(task))
    await goes_on(env)


@check("workflow", timeout=40)
async def random_bodies_harm_nothing(env):
    source = random.Random(env.arguments.seed)
    flows = []
    for _ in range(min(env.arguments.fuzz, 300)):
        flow = await Workflow.new(env)
        task = flow.task(source.choice(("start", "signal")), codec=source.choice((MSGPACK, JSON)), message_id=uuid7(), data={},
                         name="approve")
        body = bytearray(task.body())
        for _ in range(source.randint(1, 8)):
            body[source.randrange(len(body))] = source.randrange(256)
        task.raw = bytes(body[:source.randint(0, len(body))])
        flows.append((flow, await flow.send(task)))
    for flow, ack in flows:
        await flow.gone(ack)
    await goes_on(env)


async def is_refused(env, flow, task, *, codes=("INVALID_MESSAGE",)):
    """The page says "cannot be decoded": an answer, a dead letter or both, but never nothing."""
    ack = await flow.send(task)
    await flow.gone(ack)
    try:
        frame = await env.peer.response(task.id, timeout=1)
    except asyncio.TimeoutError:
        frame = None
    if frame is not None:
        assert frame.fields.get("status") == "error", f"answered {frame.fields!r}"
        error = expect.error_shape(frame.fields["error"], category="PERMANENT")
        assert error["code"] in codes, f"code is {error['code']}"
    dead = await env.peer.has_dead_letter(ack.seq, flow.queue)
    assert frame or dead, f"{task.fields} is neither answered nor among the dead letters"
    if dead:
        expect.dead_letter(await env.peer.dead_letter(ack.seq, queue=flow.queue), task, "INVALID_MESSAGE", env.ns)


@check("workflow", timeout=60)
async def task_that_disagrees_with_its_subject_is_refused(env):
    other = await Workflow.new(env)
    for kind, wrong in (("start", {"workflow_id": other.id}), ("start", {"definition": "another_one"}),
                        ("signal", {"workflow_id": other.id}), ("signal", {"definition": "another_one"}),
                        ("start", {"task": "signal", "name": "approve"}), ("signal", {"task": "start"})):
        flow = await Workflow.new(env)
        task = flow.task(kind, data={}, message_id=uuid7(), **({"name": "approve"} if kind == "signal" else {}))
        task.fields |= wrong
        await is_refused(env, flow, task)
        assert await flow.record() is None, f"{kind} with {wrong} made a record under the subject's id"
        assert await other.record() is None, f"{kind} with {wrong} made a record under the body's id"
    await goes_on(env)


@check("workflow", timeout=60)
async def task_without_a_required_field_is_refused(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate()
    full = {"transition": {"to": "third"}, "signal": {"name": "approve", "data": {}}, "checkpoint": {"name": "here"},
            "restore": {"name": "here"}, "wake": {"entry": before["entry"]}, "migrate": {"version": before["version"]}}
    lacking = [(kind, name) for kind, fields in full.items() for name in fields if name != "data"]
    lacking += [("signal", name) for name in ("v", "kind", "id", "task", "workflow_id", "definition")]
    for kind, name in lacking:
        task = flow.task(kind, message_id=uuid7(), **full[kind])
        key = task.id
        del task.fields[name]
        task.fields["reply_to"] = f"{env.ns}.reply.{env.peer.requester}.{key}"
        ack = await flow.send(task)
        await flow.gone(ack)
        dead = await env.peer.has_dead_letter(ack.seq, flow.queue)
        answered = not await env.peer.no_frame(key, 0 if dead else 0.5)
        assert dead or answered, f"{kind} without {name} is neither answered nor among the dead letters"
        if answered:
            frame = await env.peer.response(key)
            assert frame.fields.get("status") == "error", f"{kind} without {name} was answered {frame.fields}"
        record = await flow.record()
        assert (record["status"], record["entry"]) == ("waiting", before["entry"]), f"{kind} without {name} moved it"
    await flow.approve()
    await flow.completed()


@check("workflow")
async def unknown_task_and_version_are_refused_and_unknown_fields_ignored(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate(later_version="ignored", deep={"x": [1]})
    for wrong in ({"task": "dance"}, {"v": 2}, {"kind": "command"}):
        task = flow.task("signal", name="approve", data={}, message_id=uuid7(), **wrong)
        await is_refused(env, flow, task)
        assert (await flow.record())["entry"] == before["entry"], f"a task with {wrong} moved it"
    await flow.approve(later_version=1)
    await flow.completed()


@check("workflow")
async def reply_to_elsewhere_is_never_answered(env):
    heard = await env.peer.nc.subscribe("elsewhere.>")
    flow = await Workflow.new(env)
    for kind in ("start", "stop"):
        task = flow.task(kind, data={}, message_id=uuid7(), reply_to=f"elsewhere.{uuid7()}")
        await flow.gone(await flow.send(task))
    await asyncio.sleep(0.3)
    assert heard.pending_msgs == 0, "published outside of the allowed roots"
    await goes_on(env)
