"""Section 8: stops, and what comes while a state runs, which is kept in the inbox and runs nothing twice."""

import asyncio
import time

from mcp_peer import JSON, MSGPACK
from registry import check
from workflow_expect import answered, path
from workflow_peer import PATH, Workflow
from workflow_watch import Watch


async def once_each(watch, states):
    """Each of these states has sent its effect under one key, and none of the others has sent any."""
    await watch.settle()
    keys = {state: watch.keys(state) for state in ("first", "second", "third")}
    wrong = {state: found for state, found in keys.items() if len(found) != (state in states)}
    assert not wrong, f"only {states} should have run, once each: {wrong}"


@check("workflow")
async def stop_while_it_waits(env):
    for codec in (MSGPACK, JSON):
        flow = await Workflow.new(env)
        before = await flow.at_gate({"kept": 1})
        answer = await flow.ask("stop", reason="no longer wanted", codec=codec)
        assert (answer["state"], answer["status"]) == ("gate", "stopped"), f"{answer['state']} {answer['status']}"
        record = await flow.record()
        assert record["status"] == "stopped" and record["epoch"] > before["epoch"], record
        assert record["data"] == {"kept": 1}, f"the data became {record['data']}"
        await flow.refused("signal", "WORKFLOW_ENDED", name="approve", data={})
        await flow.refused("transition", "WORKFLOW_ENDED", to="third")
        await asyncio.sleep(0.3)
        assert (await flow.record())["status"] == "stopped", "a stopped workflow went on"


@check("workflow", timeout=30)
async def stop_during_a_state_shows_at_once_and_takes_effect_after_it(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"sleep_ms": 2500})
    await flow.until(state="first", status="running", timeout=1)
    began = time.monotonic()
    task = flow.task("stop", reason="in the middle")
    await flow.send(task)
    stopped = await flow.until(status="stopped", timeout=1.2)
    waited = time.monotonic() - began
    assert stopped["state"] == "first", f"stopped in {stopped['state']} after {waited:.1f} s"
    answered(task, await env.peer.response(task.id), flow.id)
    await asyncio.sleep(3.5 - (time.monotonic() - began))
    record = await flow.record()
    assert record["status"] == "stopped", f"a stopped workflow is {record['status']}"
    assert record["state"] in ("first", "second"), f"a stopped workflow went on to {record['state']}"
    assert record["inbox"] == [], f"the driver left its inbox: {record['inbox']}"
    await watch.settle()
    assert len(watch.effects("first")) <= 1 and not watch.effects("second"), f"{[c.fields for c in watch.commands]}"
    await flow.refused("signal", "WORKFLOW_ENDED", name="approve", data={})


@check("workflow", timeout=30)
async def signal_and_checkpoint_during_a_state_are_not_lost(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"sleep_ms": 1200})
    tasks = [flow.task("signal", name="approve", data={}), flow.task("checkpoint", name="during")]
    began = time.monotonic()
    for task in tasks:
        await flow.send(task)
    for task in tasks:
        answered(task, await env.peer.response(task.id), flow.id)
    assert time.monotonic() - began < 4, "answered only when the run was over"
    done = await flow.completed(timeout=15)
    assert path(done) == PATH, f"the way was {path(done)}"
    assert {task.id for task in tasks} <= set(done["taken"]), f"taken is {done['taken']}"
    kept = await flow.checkpoint("during")
    assert kept and kept["data"] == {"sleep_ms": 1200}, f"the checkpoint is {kept}"
    await once_each(watch, ["first", "second", "third"])


@check("workflow", timeout=30)
async def task_that_comes_during_a_state_is_acknowledged_before_it_ends(env):
    """It adds itself to the record, and its own message leaves the queue; the driver's stays."""
    flow = await Workflow.new(env)
    start = flow.task("start", data={"sleep_ms": 2500})
    lease = await flow.send(start)
    await flow.until(state="first", status="running")
    signal = flow.task("signal", name="approve", data={})
    ack = await flow.send(signal)
    await env.peer.gone(ack.seq, timeout=1.5, queue=flow.queue)
    record = await flow.record()
    assert record["state"] == "first", f"acknowledged only in {record['state']}"
    assert record["driver"]["task"] == start.id, f"the driver is {record['driver']}, the start {start.id}"
    assert signal.id in repr(record["inbox"]) or signal.id in record["taken"], f"inbox: {record['inbox']}"
    assert await env.peer.queued(lease.seq, flow.queue), "the driver's task is off the queue while its state runs"
    await flow.completed(timeout=15)
    await flow.gone(lease)


@check("workflow", timeout=30)
async def many_tasks_during_a_state_run_it_once(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"sleep_ms": 800})
    tasks = [flow.task("checkpoint", name=f"mark-{n % 4}") for n in range(12)]
    await asyncio.gather(*(flow.send(task) for task in tasks))
    for task in tasks:
        answered(task, await env.peer.response(task.id), flow.id)
    record = await flow.until(state="gate", status="waiting")
    assert path(record) == PATH[:3] and record["inbox"] == [], record["inbox"]
    for n in range(4):
        assert await flow.checkpoint(f"mark-{n}"), f"no checkpoint mark-{n}"
    await once_each(watch, ["first", "second"])
    epochs = [write.record["epoch"] for write in watch.writes]
    assert epochs and record["epoch"] == max(epochs), f"epoch {record['epoch']} of {epochs}"


@check("workflow", timeout=30)
async def transition_during_a_state_is_answered_and_loses_nothing(env):
    """The page leaves open which of the two wins; the history stays one line and the workflow ends."""
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"sleep_ms": 700})
    task = flow.task("transition", to="second")
    await flow.send(task)
    frame = await env.peer.response(task.id)
    assert frame.fields["status"] == "ok" or frame.fields["error"]["code"] == "ILLEGAL_TRANSITION", frame.fields
    record = await flow.until(state="gate", status="waiting")
    assert path(record) == PATH[:3], f"the way was {path(record)}"
    await watch.settle()
    assert len(watch.keys("first")) <= 1, f"first has run with the keys {watch.keys('first')}"
    await flow.approve()
    await flow.completed()


@check("workflow")
async def stop_of_an_ended_workflow_changes_nothing(env):
    flow = await Workflow.new(env)
    await flow.at_gate()
    await flow.approve()
    before = await flow.completed()
    task = flow.task("stop")
    await flow.send(task)
    frame = await env.peer.response(task.id)
    if frame.fields["status"] == "error":
        assert frame.fields["error"]["code"] == "WORKFLOW_ENDED", frame.fields["error"]
    after = await flow.record()
    assert (after["status"], after["entry"]) == ("completed", before["entry"]), after["status"]
