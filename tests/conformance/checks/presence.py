"""Section 7: the presence record, its lease, and what observers hear."""

import asyncio
import json

import expect
from registry import check

STATES = ("starting", "ready", "busy", "draining")


async def instances(env, agent):
    """Reads the bucket as the page says: a subjects filter, then gets."""
    root = f"$KV.{env.ns}_agents."
    info = await env.peer.stream_info("agents", {"subjects_filter": f"{root}{agent}.*"}, prefix="KV_")
    assert "error" not in info, info["error"]["description"]
    keys = [subject.removeprefix(root) for subject in info["state"].get("subjects") or {}]
    entries = {key: await env.peer.entry("agents", key) for key in keys}
    return {key: entry for key, entry in entries.items() if entry and entry.data}


async def one(env, agent, timeout=8):
    """The only instance of an agent: (key, entry, record)."""
    for _ in range(int(timeout / 0.1)):
        found = await instances(env, agent)
        if found:
            assert len(found) == 1, f"instances: {sorted(found)}"
            key, entry = found.popitem()
            return key, entry, json.loads(entry.data)
        await asyncio.sleep(0.1)
    raise AssertionError(f"no presence record of {agent}")


@check("presence")
async def presence_record_fields(env):
    key, entry, record = await one(env, env.agent)
    _, frame = await env.call("echo", {})
    assert record["agent"] == env.agent and key == f"{env.agent}.{record['instance']}", f"{key}: {record}"
    assert record["instance"] == frame.fields["instance"], "the record names another instance than the reply"
    assert isinstance(record.get("version"), str) and record["version"], f"version is {record.get('version')!r}"
    assert record.get("state") in STATES, f"state is {record.get('state')!r}"
    assert expect.is_int(record.get("started_at")) and expect.is_int(record.get("seq")), record
    names = {action["name"] for action in record["actions"]}
    assert {"echo", "sleep", "fail", "count", "effect", "bytes", "progress", "panic"} <= names, f"actions: {names}"
    assert isinstance(record.get("definitions"), (list, dict, type(None))), f"definitions is {record.get('definitions')!r}"
    expect.load(record.get("load"))


@check("presence", timeout=30)
async def presence_is_renewed_with_a_lease(env):
    _, first, before = await one(env, env.agent)
    lease = first.headers.get("Nats-TTL", "")
    assert lease.removesuffix("s").isdigit(), f"Nats-TTL is {lease!r}"
    assert 3 <= int(lease.removesuffix("s")) <= 60, f"Nats-TTL is {lease}"
    heard = await env.peer.nc.subscribe(f"{env.ns}.presence.{env.agent}.{before['instance']}")
    message = await heard.next_msg(timeout=8)
    record = json.loads(message.data)
    assert record["seq"] > before["seq"], f"seq went from {before['seq']} to {record['seq']}"
    assert "Nats-Time-Stamp" in message.headers, f"republished headers are {message.headers}"


@check("presence", timeout=60, needs_mcpctl=True)
async def clean_stop_purges_the_record(env):
    name = env.unique("probe")
    process = await env.start_probe(name)
    key, _, _ = await one(env, name)
    process.terminate()
    await asyncio.wait_for(process.wait(), 15)
    entry = await env.peer.entry("agents", key)
    assert entry is not None and not entry.data, "the record outlives a clean stop"
    wanted = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "30s"}
    assert {header: entry.headers.get(header) for header in wanted} == wanted, f"headers are {entry.headers}"


@check("notices", timeout=90, needs_mcpctl=True)
async def killed_instance_expires_and_is_told_once(env):
    name = env.unique("probe")
    process = await env.start_probe(name)
    key, entry, record = await one(env, name)
    process.kill()
    heard = await env.peer.nc.subscribe(f"{env.ns}.presence.{key}")
    lease = int(entry.headers["Nats-TTL"].removesuffix("s"))
    while True:
        message = await heard.next_msg(timeout=lease + 10)
        if (message.headers or {}).get("Nats-Marker-Reason") == "MaxAge":
            break
    revision = int(message.headers["Nats-Sequence"])
    subject, expected_id = f"{env.ns}.evt.{name}.instance_offline", f"offline.{name}.{record['instance']}.{revision}"
    for _ in range(100):
        event = await env.peer.stored(f"{env.ns}_events", last_by_subj=subject)
        if event:
            break
        await asyncio.sleep(0.1)
    assert event, f"no event on {subject}; the running {env.agent} watches too"
    assert event.headers.get("Nats-Msg-Id") == expected_id, f"Nats-Msg-Id is {event.headers.get('Nats-Msg-Id')}"
    info = await env.peer.stream_info("events", {"subjects_filter": subject})
    assert info["state"]["subjects"] == {subject: 1}, f"told {info['state']['subjects']}"
