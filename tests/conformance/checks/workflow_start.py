"""Section 8, starts: from either codec, twice, in the middle, refused, and with no engine alive."""

import asyncio

import expect
from mcp_peer import JSON, MSGPACK, encode, uuid7
from registry import check
from workflow_expect import answered, path
from workflow_peer import DEFINITION, PATH, Workflow, shard_count, shard_of
from workflow_watch import Watch

DATA = {"note": "grün", "numbers": [1, -2, 2.5, None, True], "deep": {"": {"x": []}}}


@check("workflow")
async def shard_of_an_id_is_its_crc32(env):
    """The check value of CRC-32 (IEEE) is public; the stored stream says whether the subject agrees."""
    assert shard_of("123456789", 2**32) == 0xCBF43926, "this client's CRC-32 is not the IEEE one"
    shards = await shard_count(env.peer)
    info = await env.peer.stream_info("tasks_0")
    told = (info["config"].get("metadata") or {}).values()
    assert shards >= 1 and str(shards) in told, f"{shards} task streams; the metadata says {list(told)}"


@check("workflow")
async def workflow_runs_from_start_to_end(env):
    for codec in (MSGPACK, JSON):
        flow = await Workflow.new(env)
        answer = await flow.start(DATA, codec=codec, conversation_id="talk-1")
        assert answer["definition"] == DEFINITION and answer["data"] == DATA, answer
        waiting = await flow.until(state="gate", status="waiting")
        assert path(waiting) == PATH[:3], f"the way to the gate was {path(waiting)}"
        await flow.approve(codec=codec)
        done = await flow.completed()
        assert done["state"] == "done" and path(done) == PATH, f"{done['state']} by {path(done)}"
        assert done["data"] == DATA, f"the data became {done['data']}"
        assert done.get("conversation_id") == "talk-1", f"conversation_id is {done.get('conversation_id')!r}"
        assert done.get("error") is None, f"completed with the error {done['error']}"


@check("workflow")
async def start_without_reply_to_and_headers(env):
    for own in (f"Own_Id-{uuid7()}", f"{uuid7()}-".ljust(128, "_")):
        flow = await Workflow.new(env, workflow_id=own)
        task = flow.task("start", data={}, reply=False)
        del task.headers["Content-Type"]
        ack = await flow.send(task)
        await flow.until(state="gate", status="waiting")
        await flow.gone(ack)


@check("workflow")
async def start_is_answered_once_and_before_the_run_ends(env):
    flow = await Workflow.new(env)
    task = flow.task("start", data={"sleep_ms": 1500})
    await flow.send(task)
    record = answered(task, await env.peer.response(task.id, timeout=1.2), flow.id)
    assert (record["state"], record["status"]) == ("first", "running"), f"{record['state']} {record['status']}"
    await flow.until(state="gate", status="waiting")
    assert await env.peer.no_frame(task.id, 0.3), "answered twice"


@check("workflow")
async def start_sent_twice_is_stored_once(env):
    flow = await Workflow.new(env)
    await flow.at_gate({"which": 1})
    again = flow.task("start", data={"which": 2})
    ack = await flow.send(again)
    assert ack.duplicate, "a second start was stored; its Nats-Msg-Id is that of the first"
    record = await flow.read()
    assert record["data"] == {"which": 1}, f"the data is {record['data']}"
    assert await env.peer.no_frame(again.id, 0.3), "a start that was never stored was answered"


@check("workflow")
async def start_that_meets_a_record_is_answered_unchanged(env):
    """Past the dedup window, which another Nats-Msg-Id stands for here."""
    flow = await Workflow.new(env)
    await flow.at_gate({"which": 1})
    second = await flow.start({"which": 2}, message_id=uuid7())
    assert (second["state"], second["status"], second["data"]) == ("gate", "waiting", {"which": 1}), second
    await flow.approve()
    before = await flow.completed()
    third = await flow.start({"which": 3}, state="first", message_id=uuid7())
    assert (third["status"], third["entry"], third["data"]) == ("completed", before["entry"], {"which": 1}), third
    await asyncio.sleep(0.3)
    assert (await flow.record())["status"] == "completed", "a start ran an ended workflow again"


@check("workflow")
async def start_of_another_definitions_workflow_is_refused(env):
    """The record is another engine's: this one's own, with the id and the definition replaced."""
    model = await Workflow.new(env)
    record = await model.at_gate()
    flow = await Workflow.new(env)
    theirs = record | {"id": flow.id, "definition": "of_another_engine"}
    subject = f"$KV.{env.ns}_{flow.bucket}.{flow.id}"
    await env.peer.js.publish(subject, encode(theirs, MSGPACK), headers={"Nats-Expected-Last-Subject-Sequence": "0"})
    env.later(env.peer.api, f"STREAM.PURGE.KV_{env.ns}_{flow.bucket}", {"filter": subject})
    await flow.refused("start", "WORKFLOW_EXISTS", data={})
    assert await flow.record() == theirs, "the other definition's record was changed"


@check("workflow")
async def start_in_the_middle(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({}, state="third")
    done = await flow.completed()
    assert path(done) == ["third", "done"], f"the way was {path(done)}"
    await watch.settle()
    assert not watch.effects("first") and not watch.effects("second"), "states before the start have run"
    gate = await Workflow.new(env)
    await gate.at_gate(state="gate", codec=JSON)


@check("workflow")
async def start_in_an_unknown_state_is_refused(env):
    for codec in (MSGPACK, JSON):
        flow = await Workflow.new(env)
        task = flow.task("start", data={}, state="no_such_state", codec=codec)
        ack = await flow.send(task)
        expect.error(task, await env.peer.response(task.id), "NO_SUCH_STATE", "PERMANENT")
        await flow.gone(ack)
        assert await flow.record() is None, "a refused start left a record"


@check("workflow")
async def start_with_no_engine_alive_is_stored_and_readable(env):
    """Nobody runs this definition: the workflow exists as its start task."""
    name = env.unique("nobodys")
    for codec in (MSGPACK, JSON):
        flow = await Workflow.new(env, definition=name)
        env.later(flow.forget)
        task = flow.task("start", data=DATA, codec=codec)
        assert not (await flow.send(task)).duplicate
        assert (await flow.send(task)).duplicate, "the same start was stored twice"
        await asyncio.sleep(0.3)
        assert await flow.record() is None, "a definition that nobody runs has a record"
        assert await flow.read() == task.fields, "the start task is not what was sent"


@check("workflow")
async def control_sent_right_after_the_start_finds_the_workflow(env):
    """It exists as soon as its start task is stored, whichever task an engine takes first."""
    flows = [await Workflow.new(env) for _ in range(20)]
    signals = []
    for flow in flows:
        start, signal = flow.task("start", data={}, reply=False), flow.task("signal", name="approve", data={})
        await flow.send(start)
        await flow.send(signal)
        signals.append((flow, signal))
    for flow, signal in signals:
        answered(signal, await env.peer.response(signal.id, timeout=15), flow.id)
    for flow in flows:
        assert path(await flow.completed(timeout=15)) == PATH
