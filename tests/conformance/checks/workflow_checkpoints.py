"""Section 8, checkpoints: written, kept, restored exactly, deleted; and forks, which start from one."""

from mcp_peer import JSON, MSGPACK, decode, uuid7
from registry import check
from workflow_expect import path
from workflow_peer import PATH, Workflow
from workflow_watch import Watch

DATA = {"note": "vor der Prüfung", "deep": [1, 2.5, None, {"x": True}]}


@check("workflow")
async def checkpoint_holds_state_and_data(env):
    for codec in (MSGPACK, JSON):
        flow = await Workflow.new(env)
        before = await flow.at_gate(DATA)
        answer = await flow.ask("checkpoint", name="before", codec=codec)
        assert (answer["state"], answer["status"]) == ("gate", "waiting"), f"{answer['state']} {answer['status']}"
        kept = await flow.checkpoint("before")
        assert kept, f"nothing under {flow.id}.before in {env.ns}_{flow.checkpoints}"
        assert (kept["state"], kept["data"]) == ("gate", DATA), kept
        record = await flow.record()
        assert before["epoch"] <= kept["epoch"] <= record["epoch"], f"{before['epoch']}, {kept['epoch']}, {record['epoch']}"
        changed = [name for name in ("state", "status", "data", "entry", "history") if record[name] != before[name]]
        assert not changed, f"the checkpoint changed {changed}"


@check("workflow")
async def restore_brings_back_state_and_data_exactly(env):
    """From an ended workflow; what runs after it runs anew, with new effects."""
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate(DATA)
    await flow.ask("checkpoint", name="before")
    await flow.ask("transition", to="third", data={"note": "danach", "added": 1})
    ended = await flow.completed()
    assert ended["data"] == DATA | {"note": "danach", "added": 1}, ended["data"]
    await watch.settle()
    first_keys = watch.keys("third")
    answer = await flow.ask("restore", name="before")
    assert answer["entry"] > ended["entry"] and answer["epoch"] > ended["epoch"], f"{answer['entry']}, {ended['entry']}"
    back = await flow.until(state="gate", status="waiting")
    assert back["data"] == DATA, f"the data is {back['data']}"
    assert back.get("error") is None, f"restored with the error {back['error']}"
    await flow.approve()
    done = await flow.completed()
    assert done["data"] == DATA and done["state"] == "done", done["data"]
    await watch.settle()
    keys = watch.keys("third")
    assert len(first_keys) == 1 and len(keys) == 2, f"third sent its effect with {first_keys}, then with {keys}"
    assert watch.take_apart(keys[1])[0] > watch.take_apart(keys[0])[0], f"keys: {keys}"
    assert watch.take_apart(keys[1])[1] == watch.take_apart(keys[0])[1], f"the label changed: {keys}"


@check("workflow")
async def restore_of_a_waiting_and_of_a_stopped_workflow(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate({"n": 1})
    await flow.ask("checkpoint", name="here")
    again = await flow.ask("restore", name="here", codec=JSON)
    assert again["entry"] > before["entry"], f"entry stays {again['entry']}"
    await flow.until(state="gate", status="waiting")
    stopped = await flow.ask("stop")
    assert stopped["status"] == "stopped"
    await flow.ask("restore", name="here")
    await flow.until(state="gate", status="waiting")
    await flow.approve()
    await flow.completed()


@check("workflow")
async def repeated_restore_is_applied_once(env):
    flow = await Workflow.new(env)
    await flow.at_gate()
    await flow.ask("checkpoint", name="here")
    task = flow.task("restore", name="here")
    await flow.tell(task)
    once = await flow.until(state="gate", status="waiting")
    task.headers["Nats-Msg-Id"] = uuid7()
    twice = await flow.tell(task)
    assert twice["entry"] == once["entry"], f"entry went from {once['entry']} to {twice['entry']}"


@check("workflow")
async def restore_of_an_unknown_checkpoint_is_refused(env):
    flow = await Workflow.new(env)
    before = await flow.at_gate()
    for codec in (MSGPACK, JSON):
        await flow.refused("restore", "NO_SUCH_CHECKPOINT", name="never-made", codec=codec)
    record = await flow.record()
    assert (record["status"], record["entry"]) == ("waiting", before["entry"]), record["status"]


@check("workflow")
async def deleted_checkpoint_is_gone(env):
    flow = await Workflow.new(env)
    await flow.at_gate()
    for name in ("one", "two"):
        await flow.ask("checkpoint", name=name)
    await flow.ask("delete_checkpoint", name="one")
    assert await flow.checkpoint("one") is None, "the checkpoint is still there"
    assert await flow.checkpoint("two"), "another checkpoint is gone too"
    await flow.refused("restore", "NO_SUCH_CHECKPOINT", name="one")
    await flow.ask("restore", name="two")
    await flow.ask("checkpoint", name="one")
    assert await flow.checkpoint("one"), "a deleted checkpoint cannot be made again"


@check("workflow")
async def eight_checkpoints_of_a_name_are_kept(env):
    flow = await Workflow.new(env)
    await flow.at_gate()
    for _ in range(10):
        await flow.ask("checkpoint", name="often")
    key = f"{flow.id}.often"
    assert await env.peer.revisions(flow.checkpoints, key) == {key: 8}, "not the last 8"
    bucket = await env.peer.js.key_value(f"{env.ns}_{flow.checkpoints}")
    kept = [decode(entry.value, MSGPACK) for entry in await bucket.history(key)]
    epochs = [one["epoch"] for one in kept]
    assert epochs == sorted(epochs), f"epochs: {epochs}"
    assert (await flow.checkpoint("often"))["epoch"] == epochs[-1], "the last one is not the newest"


@check("workflow")
async def checkpoint_of_an_ended_workflow_harms_nothing(env):
    """The page leaves open whether it is made; the answer tells, and the record stays as it is."""
    flow = await Workflow.new(env)
    await flow.at_gate()
    await flow.approve()
    before = await flow.completed()
    task = flow.task("checkpoint", name="late")
    await flow.send(task)
    frame = await env.peer.response(task.id)
    made = await flow.checkpoint("late")
    assert (frame.fields["status"] == "ok") == bool(made), f"answered {frame.fields['status']}, the checkpoint is {made}"
    if not made:
        assert frame.fields["error"]["code"] == "WORKFLOW_ENDED", frame.fields["error"]
    after = await flow.record()
    assert (after["status"], after["entry"]) == ("completed", before["entry"]), after["status"]


@check("workflow")
async def fork_starts_from_a_checkpoint(env):
    origin = await Workflow.new(env)
    await origin.at_gate(DATA)
    await origin.ask("checkpoint", name="before")
    await origin.approve()
    ended = await origin.completed()
    fork = await Workflow.new(env)
    await fork.start({}, **{"from": {"workflow_id": origin.id, "checkpoint": "before"}})
    waiting = await fork.until(state="gate", status="waiting")
    assert waiting["data"] == DATA, f"the fork's data is {waiting['data']}"
    assert origin.id in repr(waiting.get("parent")), f"parent is {waiting.get('parent')!r}"
    await fork.approve()
    done = await fork.completed()
    assert path(done)[-3:] == PATH[2:], f"the way was {path(done)}"
    assert await origin.record() == ended, "the fork changed its origin"


@check("workflow")
async def fork_of_what_does_not_exist_is_refused(env):
    origin = await Workflow.new(env)
    await origin.at_gate()
    for source, codes in (({"workflow_id": origin.id, "checkpoint": "never-made"}, ("NO_SUCH_CHECKPOINT",)),
                          ({"workflow_id": uuid7(), "checkpoint": "here"}, ("NO_SUCH_CHECKPOINT", "NO_SUCH_WORKFLOW"))):
        fork = await Workflow.new(env)
        error = await fork.refused("start", None, data={}, **{"from": source})
        assert error["code"] in codes, f"code is {error['code']}"
        assert await fork.record() is None, "a refused fork left a record"
