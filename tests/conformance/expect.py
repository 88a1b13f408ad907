"""What PROTOCOL.md says of frames, errors and dead letters, as assertions. Each returns what it has looked at."""

import json
import re
import time

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,128}")
CODE = re.compile(r"[A-Z][A-Z0-9_]*")
CATEGORIES = ("TEMPORARY", "PERMANENT")
SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
STRATEGIES = ("RETRY", "RETRY_ELSEWHERE", "FALLBACK", "COMPENSATE", "ASK_HUMAN", "ABORT")


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value):
    return is_int(value) or isinstance(value, float)


def shape(command, frame):
    """The fields every reply frame has. A workflow task names no agent as its target, so whichever ran it is the source."""
    assert frame.codec == command.codec, f"reply is {frame.codec}, its command {command.codec}"
    assert frame.subject == command.fields["reply_to"], frame.subject
    fields = frame.fields
    assert isinstance(fields, dict), f"frame is not a map: {fields!r}"
    assert fields.get("v") == 1, f"v is {fields.get('v')!r}"
    assert UUID7.fullmatch(str(fields.get("id"))), f"id {fields.get('id')!r} is no UUIDv7"
    assert fields["id"] != command.id, "the frame's id is that of the command"
    assert fields.get("command_id") == command.id, f"command_id is {fields.get('command_id')!r}"
    assert NAME.fullmatch(str(fields.get("source"))), f"source is {fields.get('source')!r}"
    assert fields["source"] == command.fields.get("target", fields["source"]), f"source is {fields['source']!r}"
    assert INSTANCE.fullmatch(str(fields.get("instance"))), f"instance is {fields.get('instance')!r}"
    assert is_int(fields.get("attempt")) and fields["attempt"] >= 1, f"attempt is {fields.get('attempt')!r}"
    return fields


def response(command, frame):
    fields = shape(command, frame)
    assert fields.get("kind") == "response", f"kind is {fields.get('kind')!r}"
    assert fields.get("status") in ("ok", "error"), f"status is {fields.get('status')!r}"
    assert is_number(fields.get("processing_ms")), f"processing_ms is {fields.get('processing_ms')!r}"
    assert fields["processing_ms"] >= 0
    assert fields.get("replayed") in (None, False, True), f"replayed is {fields['replayed']!r}"
    assert fields.get("seq") is None and fields.get("progress") is None, "progress fields in a response"
    return fields


def ok(command, frame):
    """Returns the result of a good response."""
    fields = response(command, frame)
    assert fields["status"] == "ok", f"answered {fields.get('error')!r}"
    assert fields.get("error") is None, "status ok with an error"
    return fields.get("result")


def error(command, frame, code=None, category=None):
    """Returns the error of an error response."""
    fields = response(command, frame)
    assert fields["status"] == "error", f"expected {code or 'an error'}, got result {str(fields.get('result'))[:200]}"
    assert fields.get("result") is None, "status error with a result"
    return error_shape(fields.get("error"), code, category)


def error_shape(value, code=None, category=None):
    assert isinstance(value, dict), f"error is {value!r}"
    assert CODE.fullmatch(str(value.get("code"))), f"code is {value.get('code')!r}"
    assert isinstance(value.get("message"), str), f"message is {value.get('message')!r}"
    assert value.get("category") in CATEGORIES, f"category is {value.get('category')!r}"
    assert value.get("error_severity") in SEVERITIES, f"error_severity is {value.get('error_severity')!r}"
    assert value.get("recovery_strategy") in STRATEGIES, f"recovery_strategy is {value.get('recovery_strategy')!r}"
    for name in ("max_retries", "retry_delay_ms"):
        assert value.get(name) is None or is_int(value[name]), f"{name} is {value[name]!r}"
    assert value.get("details") is None or isinstance(value["details"], dict), f"details is {value['details']!r}"
    assert code is None or value["code"] == code, f"code is {value['code']} ({value['message']}), expected {code}"
    assert category is None or value["category"] == category, f"{value['code']} is {value['category']}"
    return value


def invalid(command, frame):
    """The answer to a message whose own fields may be unreadable: only the error is looked at."""
    assert frame.fields.get("status") == "error", f"answered {frame.fields!r}"
    return error_shape(frame.fields.get("error"), "INVALID_MESSAGE", "PERMANENT")


def dead_letter(letter, command, reason, namespace, *, body=None):
    """The autopsy headers, and the original kept byte for byte."""
    kind, name = command.subject.removeprefix(f"{namespace}.").split(".")[:2]
    under = {"cmd": f"{name}.", "wf": f"workflow.{name}"}[kind]
    assert letter.subject.startswith(f"{namespace}.dead.{under}"), f"subject is {letter.subject}"
    headers = letter.headers
    assert headers.get("Mcp-Dead-Reason") == reason, f"Mcp-Dead-Reason is {headers.get('Mcp-Dead-Reason')!r}"
    original_subject = headers.get("Mcp-Original-Subject")
    assert original_subject == command.subject, f"Mcp-Original-Subject is {original_subject!r}"
    assert headers.get("Mcp-Dead-At", "").isdigit(), f"Mcp-Dead-At is {headers.get('Mcp-Dead-At')!r}, not Unix ms"
    assert abs(int(headers["Mcp-Dead-At"]) / 1000 - time.time()) < 600, "Mcp-Dead-At is not now"
    assert headers.get("Mcp-Attempts", "").isdigit(), f"Mcp-Attempts is {headers.get('Mcp-Attempts')!r}"
    errors = json.loads(headers.get("Mcp-Errors", "null"))
    assert isinstance(errors, list), f"Mcp-Errors is {errors!r}"
    assert len(headers["Mcp-Errors"]) <= 16 * 1024, "Mcp-Errors is over 16 KiB"
    for value in errors:
        error_shape(value)
    for name, value in command.headers.items():
        kept = f"Mcp-Original-{name}" if name.startswith("Nats-") else name
        assert headers.get(kept) == value, f"header {kept} is {headers.get(kept)!r}, expected {value!r}"
    expected = command.body() if body is None else body
    assert letter.data == expected, f"body changed: {len(letter.data)} bytes, expected {len(expected)}"
    return errors


def load(value):
    assert isinstance(value, dict), f"load is {value!r}"
    assert is_int(value.get("in_flight")) and value["in_flight"] >= 0, f"in_flight is {value.get('in_flight')!r}"
    assert is_int(value.get("capacity")) and value["capacity"] > 0, f"capacity is {value.get('capacity')!r}"
    utilization = value.get("utilization")
    assert is_number(utilization) and 0 <= utilization <= 1, f"utilization is {utilization!r}"
    wait = value.get("queue_wait_p95_ms")
    assert is_number(wait) and wait >= 0, f"queue_wait_p95_ms is {wait!r}"
    return value
