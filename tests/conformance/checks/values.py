"""Section 3: `parameters` and `result` are any value, and `echo` returns what it was given, in both encodings."""

import math
import random

import expect
from mcp_peer import JSON, MSGPACK
from registry import check

SHAPES = {
    "empty map": {}, "empty list": [], "empty string": "", "true": True, "false": False, "zero": 0,
    "number": 7, "negative": -7, "string": "hello",
    "unicode": "żółć 漢字 🎬 \u0000 \u2028 \"quoted\" \\ \n\t \u202e",
    "unicode keys": {"ключ": 1, "🎬": 2, "": 3, "a b": 4, "a.b": 5},
    "null in places": {"a": None, "b": [None, None], "c": {"d": None}},
    "nested": {"a": [{"b": [[], {}, [{"c": {"d": [1, "2", 3.5, None, True]}}]]}]},
    "deep": None, "wide": {f"key{number}": number for number in range(500)},
    "long list": list(range(2000)), "long string": "x" * 70_000, "mixed list": [1, "1", 1.5, None, False, [], {}],
    "looks like a frame": {"v": 1, "kind": "response", "status": "error", "error": {"code": "X"}},
    "i64 max": 2**63 - 1, "i64 min": -(2**63), "u64 max": 2**64 - 1, "2^53+1": 2**53 + 1, "-2^53-1": -(2**53) - 1,
    "edges": [127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, -32, -33, -128, -129, -32769, -(2**31) - 1],
    "floats": [0.1, 0.1 + 0.2, -1.5, 1e-7, 5e-324, 1.7976931348623157e308, 3.141592653589793, 1e21, 123456789.123456789],
}
SHAPES["deep"] = "bottom"
for _ in range(60):
    SHAPES["deep"] = [{"d": SHAPES["deep"]}] if _ % 2 else [SHAPES["deep"]]


def same(left, right):
    """Equality that keeps true apart from 1 and -0.0 from 0.0, and leaves 1.0 equal to 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) in (int, float) and type(right) in (int, float) and left == right or \
        type(left) is type(right) and left == right


async def comes_back(env, name, value, codec):
    result = expect.ok(*await env.call("echo", value, codec=codec))
    assert same(value, result), f"{name} in {codec}: sent {str(value)[:120]}, got {str(result)[:120]}"


@check(timeout=40)
async def every_shape_comes_back(env):
    for name, value in SHAPES.items():
        for codec in (MSGPACK, JSON):
            await comes_back(env, name, value, codec)


@check()
async def floats_keep_every_bit(env):
    random_floats = random.Random(7)
    value = [random_floats.uniform(-1, 1) * 10.0 ** random_floats.randint(-300, 300) for _ in range(500)] + [-0.0]
    for codec in (MSGPACK, JSON):
        result = expect.ok(*await env.call("echo", value, codec=codec))
        changed = [(sent, got) for sent, got in zip(value, result, strict=True) if not same(sent, got)]
        assert not changed, f"{codec}: {len(changed)} of {len(value)} changed, first {changed[0]}"


@check()
async def missing_parameters_are_an_empty_map(env):
    for codec in (MSGPACK, JSON):
        assert await env.ok("echo", codec=codec) == {}


@check()
async def null_parameters_stay_null(env):
    for codec in (MSGPACK, JSON):
        result = await env.ok("echo", None, codec=codec)
        assert result is None, f"{codec}: null came back as {result!r}"


@check()
async def bytes_answers_as_many(env):
    for size in (0, 1, 1000, 100_000):
        result = await env.ok("bytes", {"n": size})
        assert len(result) == size, f"bytes {{n: {size}}} returned {len(result)}"


@check()
async def msgpack_binary_comes_back(env):
    value = {"blob": bytes(range(256))}
    result = await env.ok("echo", value, codec=MSGPACK)
    assert result == value, f"a msgpack bin came back as {str(result)[:120]}"
