"""A small peer of the MCP wire protocol, version 1, written from PROTOCOL.md alone.

It owns ids, codecs, sending, collecting reply frames and the claim check; `server_view.py` reads what the server stored.
It judges nothing: `expect.py` knows what a good frame looks like. No code is shared with the runtime.
"""

import asyncio
import hashlib
import json
import os
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import msgpack
import nats

from server_view import ServerView

JSON = "application/json"
MSGPACK = "application/msgpack"
LANES = ("critical", "high", "normal", "low")
CLAIM_CHECK_BYTES = 256 * 1024
MISSING = object()


def uuid7():
    """Returns a UUIDv7 in hyphenated lower case."""
    random = int.from_bytes(os.urandom(10), "big")
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & ((1 << 62) - 1)
    return str(uuid.UUID(int=value))


def encode(value, codec):
    if codec == JSON:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return msgpack.packb(value)


def decode(body, codec):
    return json.loads(body) if codec == JSON else msgpack.unpackb(body)


@dataclass
class Command:
    """A command ready to be sent; a check may replace any part of it first."""

    subject: str
    fields: dict
    codec: str
    headers: dict
    raw: bytes | None = None

    @property
    def id(self):
        return self.fields["id"]

    def body(self):
        return encode(self.fields, self.codec) if self.raw is None else self.raw


@dataclass
class Frame:
    """One reply frame as it came in."""

    subject: str
    codec: str
    fields: dict
    headers: dict = field(default_factory=dict)


class Peer(ServerView):
    """One connection, with one subscription for replies under `mcp.reply.` and one under `_INBOX`."""

    def __init__(self, connection, namespace):
        super().__init__(connection, namespace)
        self.js = connection.jetstream(timeout=5)
        self.requester = "conformance-" + uuid.uuid4().hex[:12]
        self._queues = {}

    @classmethod
    async def connect(cls, server, namespace):
        peer = cls(await nats.connect(server, connect_timeout=5, max_reconnect_attempts=5), namespace)
        for root in (f"{namespace}.reply", "_INBOX"):
            await peer.nc.subscribe(f"{root}.{peer.requester}.>", cb=peer._on_reply)
        await peer.forget_dead_letters()
        await peer.nc.flush()
        return peer

    async def close(self):
        await self.nc.close()

    # Commands and replies

    def command(self, agent, action, parameters=MISSING, /, *, lane="normal", codec=MSGPACK, reply="reply", **fields):
        """Builds a durable command; `reply` is "reply", "inbox" or None, `fields` replace those of the body."""
        own = uuid7()
        body = {"v": 1, "kind": "command", "id": own, "source": "conformance", "target": agent, "action": action,
                "priority": lane, "created_at": time.time_ns() // 1_000_000}
        if parameters is not MISSING:
            body["parameters"] = parameters
        root = {"reply": f"{self.ns}.reply", "inbox": "_INBOX", None: None}[reply]
        if root:
            body["reply_to"] = f"{root}.{self.requester}.{own}"
        body.update(fields)
        headers = {"Nats-Msg-Id": f"{own}.{body.get('attempt', 1)}", "Content-Type": codec}
        return Command(f"{self.ns}.cmd.{agent}.{lane}.{action}", body, codec, headers)

    async def send(self, command):
        """Stores a durable command; returns the server's acknowledgement (`seq`, `duplicate`)."""
        return await self.js.publish(command.subject, command.body(), headers=command.headers)

    async def delay(self, command, seconds):
        """Stores a command that the server itself delivers after `seconds`."""
        due = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        agent = command.subject.removeprefix(f"{self.ns}.cmd.").split(".")[0]
        headers = command.headers | {"Nats-Schedule": f"@at {due.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}",
                                     "Nats-Schedule-Target": command.subject}
        return await self.js.publish(f"{self.ns}.delay.{agent}.{command.id}", command.body(), headers=headers)

    async def send_realtime(self, command):
        agent, _, action = command.subject.removeprefix(f"{self.ns}.cmd.").split(".", 2)
        await self.nc.publish(f"{self.ns}.rt.{agent}.{action}", command.body(), headers=command.headers)

    async def _on_reply(self, message):
        self._queue(message.subject.rsplit(".", 1)[-1]).put_nowait(message)

    def _queue(self, command_id):
        return self._queues.setdefault(command_id, asyncio.Queue())

    async def next_frame(self, command_id, timeout=8.0):
        message = await asyncio.wait_for(self._queue(command_id).get(), timeout)
        headers = dict(message.headers or {})
        codec = headers.get("Content-Type", MSGPACK)
        return Frame(message.subject, codec, decode(await self.claim(headers, message.data), codec), headers)

    async def frames(self, command_id, timeout=8.0):
        """Returns the progress frames and the response, in order of arrival."""
        frames = []
        while not frames or frames[-1].fields.get("kind") != "response":
            frames.append(await self.next_frame(command_id, timeout))
        return frames

    async def response(self, command_id, timeout=8.0):
        return (await self.frames(command_id, timeout))[-1]

    async def call(self, *args, timeout=8.0, **kwargs):
        """Sends a durable command and returns (command, response frame)."""
        command = self.command(*args, **kwargs)
        await self.send(command)
        return command, await self.response(command.id, timeout)

    async def no_frame(self, command_id, seconds=0.7):
        """True when nothing (more) arrives for this command."""
        await asyncio.sleep(seconds)
        return self._queue(command_id).empty()

    async def control(self, agent, verb, fields, codec=JSON):
        await self.nc.publish(f"{self.ns}.ctl.{agent}.{verb}", encode(fields, codec), headers={"Content-Type": codec})

    # Claim check

    async def claim(self, headers, body):
        """Returns the body, fetched from the object store where the headers say so."""
        if "Mcp-Payload" not in headers:
            return body
        assert not body, "a claim-checked message has an empty body"
        store = await self.js.object_store(f"{self.ns}_payloads")
        data = (await store.get(headers["Mcp-Payload"])).data
        assert int(headers["Mcp-Payload-Size"]) == len(data), "Mcp-Payload-Size differs from the object"
        assert headers["Mcp-Payload-Sha256"].lower() == hashlib.sha256(data).hexdigest(), "Mcp-Payload-Sha256 differs"
        return data

    async def check_in(self, command):
        """Moves the body of a command into the object store."""
        data = command.body()
        store = await self.js.object_store(f"{self.ns}_payloads")
        await store.put(command.id, data)
        command.headers |= {"Mcp-Payload": command.id, "Mcp-Payload-Size": str(len(data)),
                            "Mcp-Payload-Sha256": hashlib.sha256(data).hexdigest()}
        command.raw = b""
