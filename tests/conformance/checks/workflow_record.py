"""Section 8, what is stored: definitions, consumers, the record and how it is written."""

import json

import expect
from mcp_peer import decode, MSGPACK
from registry import check
from workflow_expect import path, record as record_shape
from workflow_peer import DEFINITION, PATH, Workflow, shard_count
from workflow_watch import Watch

from .presence import one
from .topology import SECOND, differences


async def versions(env):
    """The versions of the definition that are stored."""
    keys = await env.peer.revisions("definitions", f"{DEFINITION}.>")
    return [key.removeprefix(f"{DEFINITION}.") for key in keys]


@check("workflow")
async def definition_is_stored_as_json(env):
    found = await versions(env)
    assert found, f"nothing under {DEFINITION}.<version> in {env.ns}_definitions"
    for version in found:
        entry = await env.peer.entry("definitions", f"{DEFINITION}.{version}")
        definition = json.loads(entry.data)
        assert isinstance(definition, dict), f"definition is {definition!r}"
        missing = [state for state in PATH if f'"{state}"' not in json.dumps(definition)]
        assert not missing, f"{DEFINITION}.{version} does not name {missing}"


@check("workflow")
async def presence_lists_the_definition(env):
    _, _, presence = await one(env, env.agent)
    listed = json.dumps(presence.get("definitions"))
    assert f'"{DEFINITION}' in listed, f"definitions is {listed}"
    flow = await Workflow.new(env)
    version = str((await flow.start())["version"])
    assert version in listed, f"the record's version is {version}, presence says {listed}"
    assert version in await versions(env), f"the record's version is {version}, stored are {await versions(env)}"


@check("workflow")
async def consumers_of_starts_and_control(env):
    for shard in range(await shard_count(env.peer)):
        for part in ("start", "control"):
            name = f"{DEFINITION}_{part}"
            answer = await env.peer.api(f"CONSUMER.INFO.{env.ns}_tasks_{shard}.{name}")
            assert "error" not in answer, f"{name}: {answer['error'].get('description')}"
            config = answer["config"]
            wrong = differences(config, {"durable_name": name, "ack_policy": "explicit", "ack_wait": 10 * SECOND,
                                         "max_ack_pending": 10_000, "max_deliver": -1})
            assert not wrong, f"{name}: {wrong}"
            assert not config.get("backoff") and "deliver_subject" not in config, f"{name}: {config}"
            filters = (f"{env.ns}.wf.{DEFINITION}.{shard}.{part}.*", f"{env.ns}.wf.{DEFINITION}.{shard}.{part}.>")
            assert config.get("filter_subject") in filters, f"{name} takes {config.get('filter_subject')}"


@check("workflow")
async def record_is_read_by_an_ordinary_bucket_client(env):
    flow = await Workflow.new(env)
    await flow.at_gate()
    bucket = await env.peer.js.key_value(f"{env.ns}_{flow.bucket}")
    record = record_shape(decode((await bucket.get(flow.id)).value, MSGPACK), flow.id)
    assert record == await flow.record(), "a direct get reads another record than the leader has"
    assert await env.peer.revisions(flow.bucket, flow.id) == {flow.id: 1}, "more than one revision is kept"


@check("workflow")
async def record_is_written_by_compare_and_set_with_each_epoch_one_higher(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.approve()
    done = await flow.completed()
    await watch.settle()
    assert not watch.broken, f"a write that is no record: {watch.broken[0]}"
    bare = [w.record["epoch"] for w in watch.writes if "Nats-Expected-Last-Subject-Sequence" not in w.headers]
    assert watch.writes and not bare, f"written without an expected revision at the epochs {bare}"
    epochs = [write.record["epoch"] for write in watch.writes]
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs))), f"the epochs are {epochs}"
    assert epochs[-1] == done["epoch"], f"the last write is {epochs[-1]}, the record {done['epoch']}"
    assert watch.states() == PATH, f"the writes lead through {watch.states()}"
    running = {write.record["state"] for write in watch.writes if write.record["status"] == "running"}
    assert {"first", "second", "third"} <= running, f"running was written in {running}"


@check("workflow")
async def history_grows_line_by_line(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.approve()
    await flow.completed()
    await watch.settle()
    before = []
    for write in watch.writes:
        lines = write.record["history"]
        assert lines[:len(before)] == before, f"epoch {write.record['epoch']} changes the past: {before} became {lines}"
        path(write.record)
        before = lines
    assert path(watch.writes[-1].record) == PATH


@check("workflow")
async def entry_goes_up_with_each_state(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.approve()
    await flow.completed()
    await watch.settle()
    entries = {state: {w.record["entry"] for w in watch.writes if w.record["state"] == state} for state in PATH}
    assert all(len(numbers) == 1 for numbers in entries.values()), f"entries: {entries}"
    numbers = [entries[state].copy().pop() for state in PATH]
    assert numbers == list(range(numbers[0], numbers[0] + 5)), f"entries: {entries}"


@check("workflow")
async def ended_record_owes_nothing(env):
    flow = await Workflow.new(env)
    start = flow.task("start", data={})
    ack = await flow.send(start)
    await flow.until(state="gate", status="waiting")
    signal = flow.task("signal", name="approve", data={})
    second = await flow.send(signal)
    await flow.completed()
    for stored in (ack, second):
        await flow.gone(stored)
    record = await flow.record()
    assert signal.id in record["taken"], f"taken is {record['taken']}"
    assert record["inbox"] == [], f"inbox is {record['inbox']}"
    assert await flow.start_task() is None, "the start task is still stored"
    assert not await env.peer.has_dead_letter(ack.seq, flow.queue)


@check("workflow")
async def commands_of_states_carry_derived_keys(env):
    flow = await Workflow.new(env)
    watch = await Watch.open(flow)
    await flow.at_gate()
    await flow.approve()
    await flow.completed()
    await watch.settle()
    for state in ("first", "second", "third"):
        entry, _ = watch.entry_of(state)
        of_state = {write.record["entry"] for write in watch.writes if write.record["state"] == state}
        assert entry in of_state, f"the key of {state} says entry {entry}, the record {of_state}"
        assert len(watch.effects(state)) == 1, f"{state} sent its effect {len(watch.effects(state))} times"
        assert expect.NAME.fullmatch(str(watch.effects(state)[0].fields.get("source"))), watch.effects(state)[0].fields
    assert not watch.effects("gate") and not watch.effects("done")
