"""What a bystander hears of one workflow: each write of its record, the commands of its states, its stored events."""

import asyncio
import re
from dataclasses import dataclass

import msgpack

import workflow_expect
from mcp_peer import MSGPACK, decode


@dataclass
class Write:
    """One write of a record as it was published; the server may have refused it."""

    headers: dict
    record: dict


@dataclass
class Sent:
    """A command that a state sent."""

    agent: str
    headers: dict
    fields: dict

    @property
    def key(self):
        return self.fields.get("idempotency_key")


class Watch:
    """Listens to a workflow; open it before the workflow is started."""

    def __init__(self, flow):
        self.flow, self.writes, self.commands, self.broken = flow, [], [], []

    @classmethod
    async def open(cls, flow):
        watch, peer = cls(flow), flow.peer
        await peer.nc.subscribe(f"$KV.{peer.ns}_{flow.bucket}.{flow.id}", cb=watch._on_write)
        await peer.nc.subscribe(f"{peer.ns}.cmd.>", cb=watch._on_command)
        watch._events_from = (await peer.stream_info("events"))["state"]["last_seq"] + 1
        await peer.nc.flush()
        return watch

    async def _on_write(self, message):
        try:
            record = workflow_expect.record(msgpack.unpackb(message.data), self.flow.id)
            self.writes.append(Write(dict(message.headers or {}), record))
        except Exception as error:  # told where the check looks: a callback cannot fail it
            self.broken.append(f"{type(error).__name__}: {error}")

    async def _on_command(self, message):
        headers = dict(message.headers or {})
        members = msgpack.unpackb(message.data) if "Mcp-Pack" in headers else [(headers, message.data)]
        for own, body in members:
            try:
                fields = decode(body, own.get("Content-Type", MSGPACK))
                key = fields["parameters"]["key"]
            except Exception:  # what other checks left behind is none of this workflow's
                continue
            if isinstance(key, str) and key.startswith(f"{self.flow.id}:"):
                self.commands.append(Sent(message.subject.split(".")[2], own, fields))

    def effects(self, state):
        """The `effect` commands that this state has sent, in order; one sent again with the same id counts once."""
        own = [sent for sent in self.commands if sent.fields["parameters"]["key"] == f"{self.flow.id}:{state}"]
        return list({sent.headers.get("Nats-Msg-Id"): sent for sent in own}.values())

    def keys(self, state):
        """The idempotency keys of this state's effects, each once."""
        return list(dict.fromkeys(sent.key for sent in self.effects(state)))

    def entry_of(self, state):
        """The only key of this state's effect, taken apart: (entry, label)."""
        keys = self.keys(state)
        assert len(keys) == 1, f"{state} sent its effect with the keys {keys}"
        return self.take_apart(keys[0])

    def take_apart(self, key):
        """`<workflow-id>.<entry>.<label>` as (entry, label)."""
        match = re.fullmatch(rf"{re.escape(self.flow.id)}\.(\d+)\.(.+)", str(key))
        assert match, f"the idempotency key of an effect is {key!r}"
        return int(match[1]), match[2]

    def states(self):
        """The states that the writes name, in order, without repetition."""
        named = [write.record["state"] for write in self.writes]
        return [state for index, state in enumerate(named) if index == 0 or named[index - 1] != state]

    async def events(self):
        """The stored events of this workflow, in order."""
        peer, found, seq = self.flow.peer, [], self._events_from
        subject = f"{peer.ns}.evt.workflow.>"
        while stored := await peer.stored(f"{peer.ns}_events", seq=seq, next_by_subj=subject):
            seq = stored.seq + 1
            body = decode(stored.data, stored.headers.get("Content-Type", MSGPACK))
            if (body.get("data") or {}).get("workflow_id") == self.flow.id:
                found.append((stored, body))
        return found

    async def event(self, name, timeout=5.0):
        """Waits for an event of this name and returns the last one's body, looked at."""
        found = []

        async def there():
            found[:] = [pair for pair in await self.events() if pair[1].get("name") == name]
            return found

        await self.flow.peer.until(there, timeout, f"no event workflow.{name}")
        return workflow_expect.event(*found[-1], self.flow.peer.ns, name)

    async def settle(self, seconds=0.3):
        """Lets what is on its way come in."""
        await self.flow.peer.nc.flush()
        await asyncio.sleep(seconds)
