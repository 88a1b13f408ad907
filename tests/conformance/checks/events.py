"""Section 3, events: what the stream does with them."""

import time

from mcp_peer import JSON, MSGPACK, decode, encode, uuid7
from registry import check


@check()
async def event_is_stored_once(env):
    for codec in (JSON, MSGPACK):
        event = {"v": 1, "kind": "event", "id": uuid7(), "source": "conformance", "name": "tried",
                 "data": {"codec": codec, "ü": [1, None]}, "created_at": time.time_ns() // 1_000_000}
        subject, headers = f"{env.ns}.evt.conformance.tried", {"Nats-Msg-Id": event["id"], "Content-Type": codec}
        first = await env.peer.js.publish(subject, encode(event, codec), headers=headers)
        second = await env.peer.js.publish(subject, encode(event, codec), headers=headers)
        assert first.stream == f"{env.ns}_events", f"stored in {first.stream}"
        assert second.duplicate and second.seq == first.seq, f"stored twice: {second}"
        stored = await env.peer.stored(first.stream, seq=first.seq)
        assert stored.subject == subject and stored.headers["Nats-Msg-Id"] == event["id"]
        assert decode(stored.data, stored.headers["Content-Type"]) == event
