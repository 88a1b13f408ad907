"""Section 5, as another worker sees it: the reservation, the record, and what happens to those of the dead."""

import asyncio
import hashlib
import json
import time

import expect
from mcp_peer import decode, encode, MSGPACK, uuid7
from registry import check


def outcome_key(env, action, key):
    return f"{env.agent}.{action}.{hashlib.sha256(key.encode()).hexdigest()}"


def canonical_sha256(value):
    """RFC 8785 for the plain values used here."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def same_hash(value, expected_hex):
    return (value.hex() if isinstance(value, bytes) else value) == expected_hex


@check("reliability")
async def outcome_record_of_a_done_command(env):
    key, parameters = env.unique(), {"b": 1, "a": "x"}
    command, frame = await env.call("echo", parameters, idempotency_key=key)
    entry = await env.peer.entry("outcomes", outcome_key(env, "echo", key))
    assert entry, f"no outcome record under {outcome_key(env, 'echo', key)}"
    assert not entry.headers.get("Nats-TTL"), f"a final outcome has the lease {entry.headers['Nats-TTL']}"
    record = decode(await env.peer.claim(entry.headers, entry.data), MSGPACK)
    assert record["state"] == "done" and record["command_id"] == command.id, record
    assert same_hash(record["parameters_sha256"], canonical_sha256(parameters)), record["parameters_sha256"]
    assert record["owner"] == frame.fields["instance"], f"owner is {record['owner']}"
    assert record["response"]["status"] == "ok" and record["response"]["result"] == parameters, record["response"]


@check("reliability")
async def reservation_while_it_runs(env):
    key = env.unique()
    command = env.command("sleep", {"ms": 1500}, idempotency_key=key)
    await env.peer.send(command)
    await asyncio.sleep(0.7)
    entry = await env.peer.entry("outcomes", outcome_key(env, "sleep", key))
    assert entry, "no reservation while the handler runs"
    assert entry.headers.get("Nats-TTL") in ("10s", "10"), f"Nats-TTL is {entry.headers.get('Nats-TTL')!r}"
    record = decode(entry.data, MSGPACK)
    assert record["state"] == "reserved" and record["command_id"] == command.id, record
    expect.ok(command, await env.peer.response(command.id))


async def reserve(env, action, key, parameters, seconds):
    """Reserves a key as another instance would; returns the record and its revision."""
    record = {"state": "reserved", "command_id": uuid7(), "parameters_sha256": canonical_sha256(parameters),
              "owner": "another-instance", "errors": []}
    subject = f"$KV.{env.ns}_outcomes.{outcome_key(env, action, key)}"
    ack = await env.peer.js.publish(subject, encode(record, MSGPACK), headers={
        "Nats-TTL": f"{seconds}s", "Nats-Expected-Last-Subject-Sequence": "0"})
    return subject, record, ack.seq


@check("reliability", timeout=30)
async def reservation_of_the_dead_expires(env):
    key, parameters = env.unique(), {"key": env.unique()}
    await reserve(env, "count", key, parameters, 3)
    began = time.monotonic()
    command, frame = await env.call("count", parameters, idempotency_key=key, timeout=12)
    assert expect.ok(command, frame) == {"count": 1}
    waited = time.monotonic() - began
    assert 1.5 < waited < 8, f"done after {waited:.1f} s; the reservation was for 3 s"


@check("reliability", timeout=30)
async def outcome_of_another_instance_is_replied(env):
    key, parameters = env.unique(), {"key": env.unique()}
    subject, record, revision = await reserve(env, "count", key, parameters, 10)
    command = env.command("count", parameters, idempotency_key=key)
    await env.peer.send(command)
    await asyncio.sleep(0.7)
    response = {"v": 1, "kind": "response", "id": uuid7(), "command_id": record["command_id"], "source": env.agent,
                "instance": "another-instance", "attempt": 1, "status": "ok", "result": {"count": 41},
                "processing_ms": 1.5, "replayed": False}
    await env.peer.js.publish(subject, encode(record | {"state": "done", "response": response}, MSGPACK), headers={
        "Nats-Expected-Last-Subject-Sequence": str(revision)})
    frame = await env.peer.response(command.id)
    assert expect.ok(command, frame) == {"count": 41} and frame.fields.get("replayed") is True, frame.fields
    assert await env.ok("count", parameters) == {"count": 1}, "the handler ran although another had the key"
