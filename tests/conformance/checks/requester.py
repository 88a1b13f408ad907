"""The other side: what `mcpctl send` puts on the wire, judged by an agent of ours. Needs `--mcpctl`."""

import asyncio
import json
import re
from asyncio.subprocess import PIPE

from nats.js.api import AckPolicy, ConsumerConfig

import expect
from mcp_peer import LANES, MSGPACK, decode, encode, uuid7
from registry import check


class OwnAgent:
    """A minimal agent: one consumer per lane, and the realtime subject; it keeps what it receives."""

    def __init__(self, env, name):
        self.env, self.peer, self.name = env, env.peer, name
        self.inbox = asyncio.Queue()
        self.tasks = []

    async def start(self):
        stream = f"{self.peer.ns}_commands"
        for lane in LANES:
            durable = f"{self.name}_{lane}"
            await self.peer.js.add_consumer(stream, ConsumerConfig(
                durable_name=durable, filter_subject=f"{self.peer.ns}.cmd.{self.name}.{lane}.>",
                ack_policy=AckPolicy.EXPLICIT, ack_wait=10, max_ack_pending=10_000))
            self.tasks.append(asyncio.create_task(self.pull(durable, stream)))
        await self.peer.nc.subscribe(f"{self.peer.ns}.rt.{self.name}.*", queue=self.name, cb=self.inbox.put)
        self.env.later(self.stop)
        return self

    async def pull(self, durable, stream):
        subscription = await self.peer.js.pull_subscribe_bind(durable, stream)
        while True:
            try:
                for message in await subscription.fetch(1, timeout=1):
                    await self.inbox.put(message)
                    await message.ack()
            except asyncio.TimeoutError:
                continue

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await self.env.forget(self.name)

    async def next(self):
        message = await asyncio.wait_for(self.inbox.get(), 8)
        codec = (message.headers or {}).get("Content-Type", MSGPACK)
        return message, decode(await self.peer.claim(message.headers or {}, message.data), codec), codec

    async def answer(self, fields, codec, **outcome):
        frame = {"v": 1, "kind": "response", "id": uuid7(), "command_id": fields["id"], "source": self.name,
                 "instance": "own-1", "attempt": fields.get("attempt", 1), "processing_ms": 0.5, "replayed": False} | outcome
        await self.peer.nc.publish(fields["reply_to"], encode(frame, codec), headers={"Content-Type": codec})


def command_fields(env, message, fields, name, lane="normal"):
    """Everything the page says of a command, looked at in one that mcpctl made."""
    expected = {"v": 1, "kind": "command", "target": name, "action": "greet"}
    wrong = {key: fields.get(key) for key, value in expected.items() if fields.get(key) != value}
    assert not wrong, f"fields are {wrong}"
    assert fields.get("priority", "normal") == lane, f"priority is {fields.get('priority')!r}"
    assert expect.UUID7.fullmatch(fields["id"]), f"id is {fields['id']!r}"
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", fields["source"]), f"source is {fields['source']!r}"
    assert expect.is_int(fields["created_at"]), f"created_at is {fields['created_at']!r}"
    assert fields.get("attempt", 1) == 1, f"attempt is {fields['attempt']!r}"
    assert expect.is_int(fields.get("ttl_ms")), "no ttl_ms; it is the timeout by default"
    assert re.match(rf"({re.escape(env.ns)}\.reply|_INBOX)\.\S+$", fields["reply_to"]), f"reply_to {fields['reply_to']!r}"
    assert message.headers.get("Nats-Msg-Id") == f"{fields['id']}.1", f"Nats-Msg-Id {message.headers.get('Nats-Msg-Id')!r}"


def holds(document, value):
    """True when the value is the document or somewhere in it."""
    inside = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return document == value or any(holds(item, value) for item in inside)


async def sends(env, *options):
    """Starts our agent and `mcpctl send` to it; returns both and the command received."""
    agent = await OwnAgent(env, env.unique("own")).start()
    process = await env.mcpctl("--json", "send", agent.name, "greet", "-p", '{"name":"Ada","n":[1,2.5,null]}',
                               *options, stdout=PIPE, stderr=PIPE)
    return agent, process, await agent.next()


async def finished(process, status):
    out, err = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == status, f"exit status {process.returncode}, expected {status}: {err.decode()[-300:]}"
    return out, err


@check(timeout=30, needs_mcpctl=True)
async def mcpctl_sends_a_good_command_and_prints_the_result(env):
    agent, process, (message, fields, codec) = await sends(env, "--timeout", "8s")
    command_fields(env, message, fields, agent.name)
    assert message.subject == f"{env.ns}.cmd.{agent.name}.normal.greet", message.subject
    assert fields["parameters"] == {"name": "Ada", "n": [1, 2.5, None]}, fields["parameters"]
    assert 0 < fields["ttl_ms"] <= 8000, f"ttl_ms is {fields['ttl_ms']} with --timeout 8s"
    await agent.answer(fields, codec, status="ok", result={"greeting": "hello, Ada", "ü": [None, 1.5]})
    out, _ = await finished(process, 0)
    assert holds(json.loads(out), {"greeting": "hello, Ada", "ü": [None, 1.5]}), f"printed {out[:300]!r}"


@check(timeout=60, needs_mcpctl=True)
async def mcpctl_sends_on_every_lane_and_in_real_time(env):
    for lane in LANES:
        agent, process, (message, fields, codec) = await sends(env, "--priority", lane)
        command_fields(env, message, fields, agent.name, lane)
        assert message.subject == f"{env.ns}.cmd.{agent.name}.{lane}.greet", message.subject
        await agent.answer(fields, codec, status="ok", result=lane)
        await finished(process, 0)
    agent, process, (message, fields, codec) = await sends(env, "--realtime")
    command_fields(env, message, fields, agent.name)
    assert message.subject == f"{env.ns}.rt.{agent.name}.greet", message.subject
    await agent.answer(fields, codec, status="ok", result="at once")
    await finished(process, 0)


@check(timeout=30, needs_mcpctl=True)
async def mcpctl_takes_progress_and_unknown_fields(env):
    agent, process, (_, fields, codec) = await sends(env)
    await agent.answer(fields, codec, kind="progress", seq=1, progress={"fraction": 0.5, "note": "half"}, future={"a": 1})
    await agent.answer(fields, codec, status="ok", result="whole", future=[1])
    out, _ = await finished(process, 0)
    assert holds(json.loads(out), "whole"), f"printed {out[:300]!r}"


@check(timeout=30, needs_mcpctl=True)
async def mcpctl_prints_the_error_and_exits_1(env):
    agent, process, (_, fields, codec) = await sends(env)
    error = {"code": "NO_PAPER", "message": "tray 2 is empty", "category": "PERMANENT", "error_severity": "LOW",
             "recovery_strategy": "ASK_HUMAN", "details": {"tray": 2}}
    await agent.answer(fields, codec, status="error", error=error)
    out, err = await finished(process, 1)
    assert b"NO_PAPER" in out + err and b"tray 2 is empty" in out + err, f"printed {out[:200]!r} {err[:200]!r}"


@check(timeout=30, needs_mcpctl=True)
async def mcpctl_exits_3_without_an_answer(env):
    _, process, _ = await sends(env, "--timeout", "1s")
    out, err = await finished(process, 3)
    assert b"TIMEOUT" in out + err or b"no answer" in out + err or b"time" in err, f"printed {out[:200]!r} {err[:200]!r}"
