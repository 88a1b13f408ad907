"""Section 8: retries, failure with its error kept, resume, parked workflows, and an engine that is killed."""

import asyncio
import hashlib
import tempfile
import time

import expect
from mcp_peer import JSON, MSGPACK, encode, uuid7
from registry import check
from workflow_expect import path
from workflow_peer import PATH, Workflow
from workflow_watch import Watch

from .presence import instances

RETRIES = 5


@check("workflow")
async def failing_state_is_retried_under_one_entry(env):
    for codec in (MSGPACK, JSON):
        flow = await Workflow.new(env)
        watch = await Watch.open(flow)
        await flow.start({"fail_state": "second", "fail_times": 2}, codec=codec)
        record = await flow.until(state="gate", status="waiting")
        assert path(record) == PATH[:3] and record.get("error") is None, f"{path(record)}, {record.get('error')}"
        await watch.settle()
        entries = {write.record["entry"] for write in watch.writes if write.record["state"] == "second"}
        assert len(entries) == 1, f"second has the entries {entries}"
        for state in ("first", "second"):
            assert len(watch.keys(state)) == 1, f"{state} sent its effect with the keys {watch.keys(state)}"


@check("workflow", timeout=30)
async def failure_beyond_the_retries_is_kept(env):
    for state in ("first", "third"):
        flow = await Workflow.new(env)
        await flow.start({"fail_state": state, "fail_times": 1000}, **({"state": "third"} if state == "third" else {}))
        began = time.monotonic()
        record = await flow.until(status="failed")
        assert time.monotonic() - began < 8, "five retries of 100 ms took long"
        assert record["state"] == state, f"failed in {record['state']}"
        expect.error_shape(record.get("error"))
        assert record["attempt"] in (RETRIES, RETRIES + 1), f"attempt is {record['attempt']} after {RETRIES} retries"
        await asyncio.sleep(0.5)
        assert (await flow.record())["epoch"] == record["epoch"], "a failed workflow goes on by itself"


@check("workflow", timeout=30)
async def attempt_is_visible_while_it_is_retried(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.start({"fail_state": "first", "fail_times": 1000})
    await flow.until(status="failed")
    await watch.settle()
    attempts = [write.record["attempt"] for write in watch.writes if write.record["state"] == "first"]
    assert attempts == sorted(attempts), f"attempts: {attempts}"
    assert attempts[-1] - attempts[0] >= RETRIES - 1, f"attempts: {attempts}"


@check("workflow", timeout=30)
async def resume_enters_the_failed_state_again(env):
    flow = await Workflow.new(env)
    await flow.start({"fail_state": "first", "fail_times": 1000})
    failed = await flow.until(status="failed")
    task = flow.task("resume")
    answer = await flow.tell(task)
    assert answer["entry"] == failed["entry"] + 1, f"entry went from {failed['entry']} to {answer['entry']}"
    again = await flow.until(status="failed", entry=failed["entry"] + 1)
    assert again["state"] == "first" and again["epoch"] > failed["epoch"], again["state"]


async def outcome_in_the_way(env, agent, key):
    """Stores an outcome of other parameters under a key, so that the next command with it is IDEMPOTENCY_CONFLICT."""
    response = {"v": 1, "kind": "response", "id": uuid7(), "command_id": uuid7(), "source": agent, "instance": "another",
                "attempt": 1, "status": "ok", "result": {}, "processing_ms": 1.0, "replayed": False}
    record = {"state": "done", "command_id": response["command_id"], "owner": "another", "errors": [],
              "parameters_sha256": hashlib.sha256(b"{}").hexdigest(), "response": response}
    subject = f"$KV.{env.ns}_outcomes.{agent}.effect.{hashlib.sha256(key.encode()).hexdigest()}"
    await env.peer.js.publish(subject, encode(record, MSGPACK), headers={"Nats-Expected-Last-Subject-Sequence": "0"})


@check("workflow", timeout=40)
async def resume_goes_on_once_the_cause_is_gone(env):
    """The cause: another holds the key of the effect. A resume is a new entry, so its effect has a key of its own."""
    model = await Workflow.new(env)
    seen = await Watch.open(model)
    await model.start({}, state="third")
    await model.completed()
    await seen.settle()
    sent = seen.effects("third")
    assert len(sent) == 1, f"third sent its effect {len(sent)} times"
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await outcome_in_the_way(env, sent[0].agent, sent[0].key.replace(model.id, flow.id))
    await flow.start({"kept": 1}, state="third")
    failed = await flow.until(status="failed", timeout=15)
    assert failed["state"] == "third" and "IDEMPOTENCY_CONFLICT" in repr(failed["error"]), f"error is {failed['error']}"
    await flow.ask("resume")
    done = await flow.completed()
    assert done["data"] == {"kept": 1} and done.get("error") is None, f"{done['data']}, {done.get('error')}"
    assert path(done) == ["third", "done"], f"the way was {path(done)}"
    await watch.settle()
    keys = watch.keys("third")
    assert len(keys) == 2 and watch.take_apart(keys[1])[0] > watch.take_apart(keys[0])[0], f"keys: {keys}"


@check("workflow")
async def resume_of_what_neither_failed_nor_parked_moves_nothing(env):
    """The page leaves the answer open."""
    flow = await Workflow.new(env)
    waiting = await flow.at_gate()
    task = flow.task("resume")
    await flow.send(task)
    await env.peer.response(task.id)
    record = await flow.record()
    assert (record["state"], record["status"], record["entry"]) == ("gate", "waiting", waiting["entry"]), record
    await flow.approve()
    done = await flow.completed()
    await flow.refused("resume", "WORKFLOW_ENDED")
    assert (await flow.record())["entry"] == done["entry"], "a resume ran a completed workflow again"


@check("workflow", timeout=30)
async def workflow_of_a_version_that_nobody_runs_is_parked(env):
    model = await Workflow.new(env)
    hosted = (await model.start())["version"]
    other = hosted + 1000 if expect.is_int(hosted) else "999.0.0"
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.send(flow.task("start", data={"kept": 1}, version=other, reply=False))
    parked = await flow.until(status="parked")
    assert parked["version"] == other and parked["data"] == {"kept": 1}, parked["version"]
    assert (await watch.event("parked"))["status"] == "parked"
    await flow.ask("migrate", version=hosted)
    if (await flow.record())["status"] == "parked":
        await flow.ask("resume")
    waiting = await flow.until(state="gate", status="waiting")
    assert waiting["version"] == hosted and waiting["data"] == {"kept": 1}, waiting["version"]


@check("workflow", timeout=120, needs_mcpctl=True)
async def killed_engine_loses_nothing(env):
    """Some of these run in the replica that is killed; the other takes them over when their lease has passed."""
    before = await instances(env, env.agent)
    own = tempfile.TemporaryDirectory()
    env.later(asyncio.to_thread, own.cleanup)
    replica = await env.mcpctl("probe", "--name", env.agent, "--effects-file", f"{own.name}/effects",
                               stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
    await env.peer.until(lambda: another(env, before), 10, "no presence of a second replica")
    flows = [await Workflow.new(env) for _ in range(12)]
    watches = [await Watch.open(flow) for flow in flows]
    for flow in flows:
        await flow.start({"sleep_ms": 1500})
    await asyncio.sleep(0.5)
    replica.kill()
    for flow, watch in zip(flows, watches):
        await flow.until(state="gate", status="waiting", timeout=40)
        await flow.approve()
        done = await flow.until(status="completed", timeout=40)
        assert path(done) == PATH, f"the way was {path(done)}"
        for state in ("first", "second", "third"):
            assert len(watch.keys(state)) == 1, f"{state} sent its effect with the keys {watch.keys(state)}"


async def another(env, before):
    return set(await instances(env, env.agent)) - set(before)
