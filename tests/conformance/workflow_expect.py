"""What section 8 of PROTOCOL.md says of records, checkpoints, events and answers to tasks, as assertions."""

import time

import expect

STATUSES = ("running", "waiting", "parked", "completed", "failed", "stopped")
ALWAYS = ("id", "definition", "version", "state", "status", "data", "epoch", "entry", "attempt", "inbox", "taken", "signals",
          "created_at", "updated_at", "history", "pending")
EVENTS = ("started", "transitioned", "waiting", "completed", "failed", "stopped", "parked", "checkpointed", "restored")
TAKEN_LIMIT = 64


def recent(name, value):
    assert expect.is_int(value), f"{name} is {value!r}, not Unix ms"
    assert abs(value / 1000 - time.time()) < 3600, f"{name} is {value}, not about now"


def record(value, workflow_id):
    """A record with every field it must have, of the right type. Optional ones may be absent or null."""
    assert isinstance(value, dict), f"record is {value!r}"
    missing = [name for name in ALWAYS if name not in value]
    assert not missing, f"record without {missing}: {sorted(value, key=str)}"
    assert value["id"] == workflow_id, f"id is {value['id']!r}"
    assert expect.NAME.fullmatch(str(value["definition"])), f"definition is {value['definition']!r}"
    assert expect.is_int(value["version"]) or isinstance(value["version"], str), f"version is {value['version']!r}"
    assert expect.NAME.fullmatch(str(value["state"])), f"state is {value['state']!r}"
    assert value["status"] in STATUSES, f"status is {value['status']!r}"
    for name in ("epoch", "entry", "attempt"):
        assert expect.is_int(value[name]) and value[name] >= 0, f"{name} is {value[name]!r}"
    for name in ("inbox", "taken", "history"):
        assert isinstance(value[name], list), f"{name} is {value[name]!r}"
    for name in ("signals", "pending"):
        assert isinstance(value[name], (list, dict)), f"{name} is {value[name]!r}"
    assert all(isinstance(task, str) for task in value["taken"]), f"taken is {value['taken']!r}"
    assert len(value["taken"]) <= TAKEN_LIMIT, f"taken has {len(value['taken'])} ids"
    recent("created_at", value["created_at"])
    recent("updated_at", value["updated_at"])
    optional(value)
    history(value["history"])
    return value


def optional(value):
    driver = value.get("driver")
    if value["status"] == "running":
        assert isinstance(driver, dict), f"running, and the driver is {driver!r}"
    if driver is not None:
        assert isinstance(driver.get("task"), str), f"driver is {driver!r}"
        assert expect.is_int(driver.get("delivery")) and driver["delivery"] >= 1, f"driver is {driver!r}"
    if value.get("error") is not None:
        expect.error_shape(value["error"])
    wake = value.get("wake_in_ms")
    assert wake is None or expect.is_number(wake) and wake >= 0, f"wake_in_ms is {wake!r}"
    for name in ("conversation_id", "traceparent"):
        assert value.get(name) is None or isinstance(value[name], str), f"{name} is {value[name]!r}"


def history(lines):
    """Every line has its fields, in order of time."""
    for line in lines:
        assert isinstance(line, dict), f"history has {line!r}"
        start = line.get("from")
        assert start is None or expect.NAME.fullmatch(str(start)), f"from is {start!r}"
        assert expect.NAME.fullmatch(str(line.get("to"))), f"to is {line.get('to')!r}"
        assert isinstance(line.get("trigger"), str) and line["trigger"], f"trigger is {line.get('trigger')!r}"
        recent("at", line.get("at"))
    times = [line["at"] for line in lines]
    assert times == sorted(times), f"the history goes back in time: {times}"


def path(value):
    """The states a history leads through, each line starting where the one before ended. A line of the start or of a
    resume, from nowhere or to where it was, adds nothing."""
    states = []
    for line in value["history"]:
        start = line.get("from")
        if start is not None:
            assert not states or states[-1] == start, f"the history breaks between {states[-1]} and {start}"
            states = states or [start]
        if not states or states[-1] != line["to"]:
            states.append(line["to"])
    assert not states or states[-1] == value["state"], f"the history ends in {states[-1]}, the state is {value['state']}"
    return states or [value["state"]]


def checkpoint(value, workflow_id, name):
    assert isinstance(value, dict), f"checkpoint is {value!r}"
    assert value.get("workflow_id") == workflow_id, f"workflow_id is {value.get('workflow_id')!r}"
    assert value.get("name") == name, f"name is {value.get('name')!r}"
    assert expect.is_int(value.get("epoch")), f"epoch is {value.get('epoch')!r}"
    assert expect.NAME.fullmatch(str(value.get("state"))), f"state is {value.get('state')!r}"
    assert "data" in value, f"checkpoint without data: {sorted(value)}"
    recent("created_at", value.get("created_at"))
    return value


def answered(task, frame, workflow_id):
    """The record a task was answered with."""
    return record(expect.ok(task, frame), workflow_id)


def refusal(task, frame, code):
    return expect.error(task, frame, code, "PERMANENT")


def event(stored, body, namespace, name):
    """A stored event of a workflow; returns its data."""
    assert stored.subject == f"{namespace}.evt.workflow.{name}", f"subject is {stored.subject}"
    assert body.get("v") == 1 and body.get("kind") == "event", f"event is {body!r}"
    assert isinstance(body.get("id"), str) and body["id"], f"id is {body.get('id')!r}"
    assert isinstance(body.get("source"), str), f"source is {body.get('source')!r}"
    assert body.get("name") == name and name in EVENTS, f"name is {body.get('name')!r}"
    recent("created_at", body.get("created_at"))
    data = body["data"]
    assert isinstance(data.get("definition"), str), f"definition is {data.get('definition')!r}"
    assert expect.is_int(data.get("epoch")), f"epoch is {data.get('epoch')!r}"
    assert expect.NAME.fullmatch(str(data.get("state"))), f"state is {data.get('state')!r}"
    assert data.get("status") in STATUSES, f"status is {data.get('status')!r}"
    for end in ("from", "to"):
        assert data.get(end) is None or expect.NAME.fullmatch(str(data[end])), f"{end} is {data[end]!r}"
    expected = f"{data['workflow_id']}.{data['epoch']}.{name}"
    assert stored.headers.get("Nats-Msg-Id") == expected, f"Nats-Msg-Id is {stored.headers.get('Nats-Msg-Id')}, not {expected}"
    return data
