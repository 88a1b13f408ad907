"""Workflows as a client of another language drives them, written from section 8 of PROTOCOL.md alone.

A `Workflow` publishes tasks about one workflow id and reads what the server has of it. It judges nothing:
`workflow_expect.py` knows what a good record looks like.
"""

import time
import zlib

import msgpack

import workflow_expect
from mcp_peer import MSGPACK, Command, decode, uuid7

DEFINITION = "probe_pipeline"
PATH = ["first", "second", "gate", "third", "done"]


def shard_of(workflow_id, shards):
    """CRC-32 (IEEE) of the id modulo the number of shards."""
    return zlib.crc32(workflow_id.encode()) % shards


async def shard_count(peer):
    """How many shards there are: a client counts the streams."""
    names = (await peer.api("STREAM.NAMES", {"subject": f"{peer.ns}.wf.>"}))["streams"] or []
    return len([name for name in names if name.startswith(f"{peer.ns}_tasks_")])


class Workflow:
    """One workflow id, and where its tasks, its record and its checkpoints are."""

    def __init__(self, env, shards, workflow_id=None, definition=DEFINITION):
        self.env, self.peer, self.definition = env, env.peer, definition
        self.id = workflow_id or uuid7()
        self.shard = shard_of(self.id, shards)
        self.queue, self.bucket = f"tasks_{self.shard}", f"workflows_{self.shard}"
        self.checkpoints = f"checkpoints_{self.shard}"

    @classmethod
    async def new(cls, env, workflow_id=None, definition=DEFINITION):
        return cls(env, await shard_count(env.peer), workflow_id, definition)

    # Tasks

    def subject(self, part):
        return f"{self.peer.ns}.wf.{self.definition}.{self.shard}.{part}.{self.id}"

    def task(self, kind, /, *, codec=MSGPACK, reply=True, message_id=None, **fields):
        """Builds a task; `fields` are what it carries, and replace those every task has."""
        own = uuid7()
        body = {"v": 1, "kind": "task", "id": own, "task": kind, "workflow_id": self.id, "definition": self.definition,
                "created_at": time.time_ns() // 1_000_000}
        if reply:
            body["reply_to"] = f"{self.peer.ns}.reply.{self.peer.requester}.{own}"
        body.update(fields)
        usual = f"{self.id}.start" if kind == "start" else body["id"]
        headers = {"Nats-Msg-Id": message_id or usual, "Content-Type": codec}
        return Command(self.subject("start" if kind == "start" else "control"), body, codec, headers)

    async def send(self, task):
        """Stores a task; returns the server's acknowledgement (`seq`, `duplicate`)."""
        ack = await self.peer.send(task)
        assert ack.stream == f"{self.peer.ns}_{self.queue}", f"{task.subject} is stored in {ack.stream}"
        return ack

    async def ask(self, kind, /, *, timeout=8.0, **fields):
        """Sends a task and returns the record of its good answer."""
        return await self.tell(self.task(kind, **fields), timeout)

    async def tell(self, task, timeout=8.0):
        await self.send(task)
        return workflow_expect.answered(task, await self.peer.response(task.id, timeout), self.id)

    async def refused(self, kind, code, /, **fields):
        """Sends a task that is answered with this PERMANENT error."""
        task = self.task(kind, **fields)
        await self.send(task)
        return workflow_expect.refusal(task, await self.peer.response(task.id), code)

    async def start(self, data=None, **fields):
        """Starts the workflow and returns the record it was answered with."""
        return await self.ask("start", data=data or {}, **fields)

    async def at_gate(self, data=None, **fields):
        """Starts the workflow and waits until it waits in `gate`; returns that record."""
        await self.start(data, **fields)
        return await self.until(state="gate", status="waiting")

    async def approve(self, **fields):
        return await self.ask("signal", name="approve", data={}, **fields)

    # What the server has

    async def record(self):
        """The workflow's record as it is now, or None."""
        entry = await self.peer.entry(self.bucket, self.id)
        return workflow_expect.record(msgpack.unpackb(entry.data), self.id) if entry and entry.data else None

    async def start_task(self):
        """The start task while it is stored and no engine has let it go, or None."""
        stored = await self.peer.stored(f"{self.peer.ns}_{self.queue}", last_by_subj=self.subject("start"))
        return stored and decode(stored.data, stored.headers.get("Content-Type", MSGPACK))

    async def read(self):
        """Reads as section 8 says: the record, else the start subject, else the record again."""
        return await self.record() or await self.start_task() or await self.record()

    async def until(self, timeout=10.0, **wanted):
        """Waits for a record with these fields and returns it."""
        last = None

        async def there():
            nonlocal last
            last = await self.record()
            return last is not None and all(last[name] == value for name, value in wanted.items())

        try:
            await self.peer.until(there, timeout, f"no record with {wanted}")
        except AssertionError as error:
            seen = last and {name: last.get(name) for name in ("state", "status", "entry", "attempt", "error")}
            raise AssertionError(f"{error}; it is {seen}") from None
        return last

    async def completed(self, timeout=10.0):
        return await self.until(timeout, status="completed")

    async def checkpoint(self, name):
        """The last checkpoint of a name, or None."""
        entry = await self.peer.entry(self.checkpoints, f"{self.id}.{name}")
        return workflow_expect.checkpoint(msgpack.unpackb(entry.data), self.id, name) if entry and entry.data else None

    async def gone(self, ack):
        await self.peer.gone(ack.seq, queue=self.queue)

    async def forget(self):
        """Takes this workflow's tasks off the queue: for those that no engine will ever take."""
        for part in ("start", "control"):
            await self.peer.api(f"STREAM.PURGE.{self.peer.ns}_{self.queue}", {"filter": self.subject(part)})
