"""Section 8, events: which are stored, once each, under ids derived from the epoch."""

import asyncio

from mcp_peer import JSON
from registry import check
from workflow_expect import EVENTS, event
from workflow_peer import DEFINITION, PATH, Workflow
from workflow_watch import Watch


async def told(watch):
    """The names of this workflow's stored events, in order; each is looked at."""
    found = await watch.events()
    ids = [stored.headers.get("Nats-Msg-Id") for stored, _ in found]
    assert len(ids) == len(set(ids)), f"stored twice: {ids}"
    epochs = [event(stored, body, watch.flow.peer.ns, body.get("name"))["epoch"] for stored, body in found]
    assert epochs == sorted(epochs), f"the events' epochs are {epochs}"
    return [body["name"] for _, body in found]


@check("workflow")
async def life_of_a_workflow_is_told(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({}, conversation_id="talk-2")
    started = await watch.event("started")
    assert started["definition"] == DEFINITION and started["state"] in PATH[:3], started
    waiting = await watch.event("waiting")
    assert (waiting["state"], waiting["status"]) == ("gate", "waiting"), waiting
    assert waiting["epoch"] <= (await flow.record())["epoch"]
    await flow.approve(codec=JSON)
    completed = await watch.event("completed")
    assert (completed["state"], completed["status"]) == ("done", "completed"), completed
    assert completed["epoch"] == (await flow.record())["epoch"], "the last write is not the completing one"
    names = [name for name in await told(watch) if name != "transitioned"]
    assert names == ["started", "waiting", "completed"], f"told {names}"


@check("workflow")
async def transitions_are_told_each_or_not_at_all(env):
    """A definition can limit its events to the lifecycle; where it does not, every step has one with both ends."""
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.approve()
    await flow.completed()
    await watch.event("completed")
    steps = [(body["data"].get("from"), body["data"].get("to")) for _, body in await watch.events()
             if body["name"] == "transitioned"]
    every = list(zip(PATH, PATH[1:]))
    # The last step may be told as `completed` alone, the one into the gate as `waiting`.
    assert not steps or set(every[:1] + every[2:3]) <= set(steps) <= set(every), f"told {steps}"


@check("workflow")
async def stop_is_told(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.ask("stop", reason="for the event")
    stopped = await watch.event("stopped")
    assert (stopped["state"], stopped["status"]) == ("gate", "stopped"), stopped
    names = await told(watch)
    assert names.count("stopped") == 1 and "completed" not in names, f"told {names}"


@check("workflow")
async def failure_is_told(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"fail_state": "first", "fail_times": 1000})
    await flow.until(status="failed")
    failed = await watch.event("failed")
    assert (failed["state"], failed["status"]) == ("first", "failed"), failed
    names = await told(watch)
    assert names.count("failed") == 1 and names.count("started") == 1, f"told {names}"


@check("workflow")
async def checkpoint_and_restore_are_told(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.ask("checkpoint", name="here")
    assert (await watch.event("checkpointed"))["state"] == "gate"
    await flow.ask("restore", name="here")
    restored = await watch.event("restored")
    assert restored["state"] == "gate", restored
    names = await told(watch)
    assert names.count("checkpointed") == 1 and names.count("restored") == 1, f"told {names}"
    assert set(names) <= set(EVENTS), f"told {names}"


@check("workflow")
async def refused_task_is_told_to_nobody_else(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await watch.event("waiting")
    before = await told(watch)
    await flow.refused("transition", "ILLEGAL_TRANSITION", to="first")
    await flow.refused("restore", "NO_SUCH_CHECKPOINT", name="never-made")
    await asyncio.sleep(0.3)
    after = await told(watch)
    assert after == before, f"told {after[len(before):]}"
    nobody = await Workflow.new(env)
    silent = await Watch.open(nobody)
    await nobody.refused("stop", "NO_SUCH_WORKFLOW")
    assert await told(silent) == [], f"told of no workflow: {await told(silent)}"
