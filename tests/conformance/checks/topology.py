"""Section 2: streams, buckets and consumers have the settings the page names, as the server itself tells them."""

from mcp_peer import LANES
from registry import check

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def differences(actual, expected):
    """The settings that are not as expected; a missing flag counts as false."""
    return {name: f"{actual.get(name, False)!r}, expected {value!r}" for name, value in expected.items()
            if actual.get(name, False) != value}


async def has_settings(env, name, subjects, expected, prefix=""):
    answer = await env.peer.stream_info(name, prefix=prefix)
    assert "error" not in answer, f"{prefix}{env.ns}_{name}: {answer['error'].get('description')}"
    config = answer["config"]
    assert sorted(config.get("subjects", [])) == sorted(subjects), f"subjects are {config.get('subjects')}"
    wrong = differences(config, expected)
    assert not wrong, f"{config['name']}: {wrong}"
    return config


WORK_QUEUE = {"retention": "workqueue", "storage": "file", "allow_msg_schedules": True,
              "duplicate_window": 120 * SECOND, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
              "max_msgs_per_subject": -1, "discard": "old"}


@check()
async def commands_stream_settings(env):
    await has_settings(env, "commands", [f"{env.ns}.cmd.>", f"{env.ns}.delay.>"], WORK_QUEUE)


@check()
async def events_stream_settings(env):
    await has_settings(env, "events", [f"{env.ns}.evt.>"],
                       {"retention": "limits", "storage": "file", "max_age": 7 * DAY, "duplicate_window": 120 * SECOND})


@check()
async def dead_letters_stream_settings(env):
    await has_settings(env, "dead_letters", [f"{env.ns}.dead.>"],
                       {"retention": "limits", "storage": "file", "max_age": 30 * DAY, "discard": "new"})


@check()
async def consumers_of_the_four_lanes(env):
    for lane in LANES:
        answer = await env.peer.api(f"CONSUMER.INFO.{env.ns}_commands.{env.agent}_{lane}")
        assert "error" not in answer, f"{env.agent}_{lane}: {answer['error'].get('description')}"
        config = answer["config"]
        wrong = differences(config, {
            "durable_name": f"{env.agent}_{lane}", "filter_subject": f"{env.ns}.cmd.{env.agent}.{lane}.>",
            "ack_policy": "explicit", "ack_wait": 10 * SECOND, "max_ack_pending": 10_000, "max_deliver": -1})
        assert not wrong, f"{env.agent}_{lane}: {wrong}"
        assert not config.get("backoff"), f"{env.agent}_{lane} has a server backoff"
        assert "deliver_subject" not in config, f"{env.agent}_{lane} is no pull consumer"


def bucket_subjects(env, bucket):
    return [f"$KV.{env.ns}_{bucket}.>"]


@check("presence")
async def agents_bucket_settings(env):
    config = await has_settings(env, "agents", bucket_subjects(env, "agents"), {
        "storage": "memory", "max_msgs_per_subject": 1, "allow_msg_ttl": True,
        "subject_delete_marker_ttl": 30 * SECOND}, prefix="KV_")
    assert config.get("republish", {}).get("dest") == f"{env.ns}.presence.>", f"republish is {config.get('republish')}"


@check("reliability")
async def outcomes_bucket_settings(env):
    config = await has_settings(env, "outcomes", bucket_subjects(env, "outcomes"), {
        "max_msgs_per_subject": 1, "allow_msg_ttl": True, "max_age": DAY}, prefix="KV_")
    assert not config.get("subject_delete_marker_ttl"), "outcomes must leave no markers"


@check("reliability")
async def payloads_object_store_settings(env):
    bucket = f"{env.ns}_payloads"
    await has_settings(env, "payloads", [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"], {"max_age": DAY}, prefix="OBJ_")


@check("workflow")
async def task_streams_settings(env):
    await has_settings(env, "tasks_0", [f"{env.ns}.wf.*.0.>", f"{env.ns}.timer.*.0.>"], WORK_QUEUE)


@check("workflow")
async def workflow_buckets_settings(env):
    for bucket, history in (("workflows_0", 1), ("checkpoints_0", 8)):
        await has_settings(env, bucket, bucket_subjects(env, bucket), {"max_msgs_per_subject": history}, prefix="KV_")
    answer = await env.peer.stream_info("definitions", prefix="KV_")
    assert "error" not in answer, answer["error"].get("description")
