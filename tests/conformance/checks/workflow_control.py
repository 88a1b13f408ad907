"""Section 8, control: transitions and signals, legal and not, early, repeated, and to what does not exist."""

import asyncio

from mcp_peer import JSON, MSGPACK, uuid7
from registry import check
from workflow_expect import answered, path
from workflow_peer import PATH, Workflow
from workflow_watch import Watch

# What every control task that needs an existing workflow carries.
CONTROL = {"transition": {"to": "third"}, "signal": {"name": "approve", "data": {}}, "stop": {},
           "checkpoint": {"name": "here"}, "delete_checkpoint": {"name": "here"}, "restore": {"name": "here"}, "resume": {}}


async def unmoved(flow, before):
    """Still where it was: only what a refused task may leave (an epoch, its id) is different."""
    record = await flow.record()
    changed = {name: record[name] for name in ("state", "status", "data", "entry", "history") if record[name] != before[name]}
    assert not changed, f"changed: {changed}"
    return record


@check("workflow")
async def control_of_an_unknown_workflow_is_refused(env):
    for codec in (MSGPACK, JSON):
        for kind, fields in CONTROL.items():
            flow = await Workflow.new(env)
            await flow.refused(kind, "NO_SUCH_WORKFLOW", codec=codec, **fields)
            assert await flow.record() is None, f"{kind} of an unknown workflow made a record"


@check("workflow")
async def transition_goes_on_with_merged_data(env):
    flow = await Workflow.new(env)
    await flow.at_gate({"kept": 1, "replaced": "old"})
    await flow.ask("transition", to="third", data={"replaced": "new", "added": [1]}, expected_state="gate")
    done = await flow.completed()
    assert path(done) == PATH, f"the way was {path(done)}"
    assert done["data"] == {"kept": 1, "replaced": "new", "added": [1]}, f"the data became {done['data']}"


@check("workflow")
async def transition_without_data_keeps_the_data(env):
    flow = await Workflow.new(env)
    await flow.at_gate({"kept": 1}, codec=JSON)
    answer = await flow.ask("transition", to="third", codec=JSON)
    assert answer["state"] in ("third", "done"), f"answered before the effect was written, in {answer['state']}"
    assert (await flow.completed())["data"] == {"kept": 1}


@check("workflow")
async def illegal_transitions_are_refused(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate()
    for code, fields in (("ILLEGAL_TRANSITION", {"to": "first"}), ("ILLEGAL_TRANSITION", {"to": "done"}),
                         ("NO_SUCH_STATE", {"to": "no_such_state"}),
                         ("STATE_MISMATCH", {"to": "third", "expected_state": "second"})):
        for codec in (MSGPACK, JSON):
            await flow.refused("transition", code, codec=codec, data={"added": 1}, **fields)
            await unmoved(flow, before)
    await flow.approve()
    await flow.completed()


@check("workflow")
async def signal_kept_while_a_state_runs_is_used_at_the_gate(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"sleep_ms": 500})
    answer = await flow.approve()
    assert answer["state"] in ("first", "second"), f"the signal was not early: the answer is in {answer['state']}"
    done = await flow.completed()
    assert path(done) == PATH, f"the way was {path(done)}"
    await watch.settle()
    for state in ("first", "second", "third"):
        assert len(watch.keys(state)) == 1, f"{state} has run with the keys {watch.keys(state)}"


@check("workflow")
async def signal_that_nobody_waits_for_is_kept(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate()
    answer = await flow.ask("signal", name="something_else", data={"n": 1})
    assert "something_else" in repr(answer["signals"]), f"signals is {answer['signals']}"
    record = await unmoved(flow, before)
    assert "something_else" in repr(record["signals"]), f"signals is {record['signals']}"
    await flow.approve()
    await flow.completed()


@check("workflow")
async def ended_workflow_takes_no_more(env):
    flow = await Workflow.new(env)
    await flow.at_gate()
    await flow.approve()
    before = await flow.completed()
    for codec in (MSGPACK, JSON):
        await flow.refused("signal", "WORKFLOW_ENDED", name="approve", data={}, codec=codec)
        await flow.refused("transition", "WORKFLOW_ENDED", to="third", codec=codec)
    await unmoved(flow, before)


@check("workflow")
async def repeated_task_is_answered_and_not_applied_again(env):
    """The same task id under another Nats-Msg-Id, as a redelivery brings it."""
    flow = await Workflow.new(env)
    before = await flow.at_gate()
    signal = flow.task("signal", name="something_else", data={})
    once = await flow.tell(signal)
    signal.headers["Nats-Msg-Id"] = uuid7()
    twice = await flow.tell(signal)
    assert len(twice["signals"]) == len(once["signals"]) and twice["taken"].count(signal.id) == 1, twice
    await unmoved(flow, before)
    transition = flow.task("transition", to="third", data={"added": 1})
    await flow.tell(transition)
    done = await flow.completed()
    assert transition.id in done["taken"], f"taken is {done['taken']}"
    transition.headers["Nats-Msg-Id"] = uuid7()
    answer = await flow.tell(transition)
    assert (answer["status"], answer["entry"]) == ("completed", done["entry"]), answer
    await unmoved(flow, done)


@check("workflow")
async def wake_of_another_entry_is_ignored(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate()
    for entry in (before["entry"] - 1, before["entry"] + 1, before["entry"] + 1000):
        task = flow.task("wake", entry=entry, reply=False, message_id=f"{flow.id}.{entry}.1.wake")
        ack = await flow.send(task)
        await flow.gone(ack)
        await unmoved(flow, before)
    await flow.approve()
    assert path(await flow.completed()) == PATH


@check("workflow")
async def many_signals_at_once_are_all_answered(env):
    """All want the same record: whoever loses a compare-and-set tries again."""
    flow = await Workflow.new(env)
    await flow.at_gate()
    tasks = [flow.task("signal", name=f"word_{n}", data={"n": n}) for n in range(16)]
    await asyncio.gather(*(flow.send(task) for task in tasks))
    for task in tasks:
        answered(task, await env.peer.response(task.id, timeout=15), flow.id)
    record = await flow.record()
    lost = [n for n in range(16) if f"word_{n}'" not in repr(record["signals"])]
    assert not lost, f"of 16 signals the record lacks {lost}"
    assert {task.id for task in tasks} <= set(record["taken"])
    await flow.approve()
    await flow.completed()
