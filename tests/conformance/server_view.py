"""What the server has stored, asked through the JetStream API itself: settings, messages, dead letters, bucket entries."""

import asyncio
import base64
import json
import time
from dataclasses import dataclass


@dataclass
class Stored:
    """One message of a stream."""

    subject: str
    seq: int
    headers: dict
    data: bytes


class ServerView:
    """Reads one namespace over a connection."""

    def __init__(self, connection, namespace):
        self.nc, self.ns = connection, namespace
        self._dead, self._dead_read = {}, 0

    async def forget_dead_letters(self):
        """Starts to read the dead letters at those to come."""
        info = await self.stream_info("dead_letters")
        self._dead_read = info["state"]["last_seq"] if "state" in info else 0

    async def api(self, subject, request=None):
        """Asks the JetStream API; errors come back as the answer's `error` field."""
        payload = json.dumps(request).encode() if request is not None else b""
        return json.loads((await self.nc.request(f"$JS.API.{subject}", payload, timeout=5)).data)

    async def stream_info(self, name, request=None, prefix=""):
        return await self.api(f"STREAM.INFO.{prefix}{self.ns}_{name}", request)

    async def stored(self, stream, **which):
        """Returns a stored message by `seq` or `last_by_subj`, or None. `stream` is the full name."""
        answer = await self.api(f"STREAM.MSG.GET.{stream}", which)
        if "error" in answer:
            assert answer["error"]["code"] == 404, answer["error"]
            return None
        message = answer["message"]
        lines = base64.b64decode(message.get("hdrs", "")).decode().split("\r\n")[1:]
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        return Stored(message["subject"], message["seq"], headers, base64.b64decode(message.get("data", "")))

    async def queued(self, seq, queue="commands"):
        """The message with this sequence, or None once the work queue has let it go."""
        return await self.stored(f"{self.ns}_{queue}", seq=seq)

    async def gone(self, seq, timeout=8.0, queue="commands"):
        """Waits until the work queue has let go of a message."""
        await self.until(lambda: self._is_gone(seq, queue), timeout, f"message {seq} is still in {self.ns}_{queue}")

    async def _is_gone(self, seq, queue):
        return await self.queued(seq, queue) is None

    async def dead_letter(self, seq, timeout=8.0, queue="commands"):
        """Waits for the dead letter of the message stored in a work queue with this sequence."""
        key = f"dead.{self.ns}_{queue}.{seq}"
        await self.until(lambda: self._dead_holds(key), timeout, f"no dead letter with Nats-Msg-Id {key}")
        return self._dead[key]

    async def has_dead_letter(self, seq, queue="commands"):
        return await self._dead_holds(f"dead.{self.ns}_{queue}.{seq}")

    async def _dead_holds(self, key):
        last = (await self.stream_info("dead_letters"))["state"]["last_seq"]
        while self._dead_read < last:
            self._dead_read += 1
            letter = await self.stored(f"{self.ns}_dead_letters", seq=self._dead_read)
            if letter:
                self._dead[letter.headers.get("Nats-Msg-Id")] = letter
        return key in self._dead

    async def entry(self, bucket, key):
        """The last entry of a bucket's key, or None."""
        return await self.stored(f"KV_{self.ns}_{bucket}", last_by_subj=f"$KV.{self.ns}_{bucket}.{key}")

    async def revisions(self, bucket, keys):
        """How many revisions a bucket keeps of each of the keys that a filter names."""
        root = f"$KV.{self.ns}_{bucket}."
        info = await self.stream_info(bucket, {"subjects_filter": root + keys}, prefix="KV_")
        assert "error" not in info, f"{bucket}: {info['error'].get('description')}"
        counts = info["state"].get("subjects") or {}
        return {subject.removeprefix(root): count for subject, count in counts.items()}

    @staticmethod
    async def until(condition, timeout, otherwise):
        end = time.monotonic() + timeout
        while not await condition():
            assert time.monotonic() < end, f"{otherwise} after {timeout} s"
            await asyncio.sleep(0.03)
