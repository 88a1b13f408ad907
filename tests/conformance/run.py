#!/usr/bin/env python3
"""Runs the conformance checks against a running agent: see README.md."""

import argparse
import asyncio
import sys
import time
import traceback

import checks  # noqa: F401  registers every check
from registry import CHECKS, Env, Skip


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="nats://127.0.0.1:4222")
    parser.add_argument("--namespace", default="mcp")
    parser.add_argument("--agent", default="probe", help="name of the running probe")
    parser.add_argument("--mcpctl", help="path of mcpctl, for the checks that start probes of their own or send with it")
    parser.add_argument("--group", default="spine", help="spine, presence, reliability, workflow, packs, notices, or all; comma separated")
    parser.add_argument("--phase", default="main", choices=("before", "main", "after"),
                        help="before: no agent runs yet; after: it has been started since")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run this check, of any group")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--fuzz", type=int, default=500, help="how many random bodies to send")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--verbose", action="store_true", help="tracebacks, and the output of started probes")
    return parser.parse_args()


def chosen(arguments):
    if arguments.only:
        unknown = set(arguments.only) - {check.name for check in CHECKS}
        if unknown:
            sys.exit(f"no such check: {', '.join(sorted(unknown))}; see --list")
        return [check for check in CHECKS if check.name in arguments.only]
    groups = arguments.group.split(",")
    return [check for check in CHECKS
            if check.phase == arguments.phase and ("all" in groups or check.group in groups)]


async def attempt(check, arguments):
    """Returns ("ok" | "FAIL" | "skip", reason)."""
    if check.needs_mcpctl and not arguments.mcpctl:
        return "skip", "needs --mcpctl"
    env = None
    try:
        env = await asyncio.wait_for(Env.open(arguments), 10)
        await asyncio.wait_for(check.run(env), check.timeout)
        return "ok", ""
    except Skip as reason:
        return "skip", str(reason)
    except asyncio.TimeoutError as error:
        return "FAIL", f"no answer in time {place(error)}"
    except Exception as error:  # a check may fail in any way; the next one is made all the same
        if arguments.verbose:
            traceback.print_exc()
        return "FAIL", f"{type(error).__name__ + ': ' if not isinstance(error, AssertionError) else ''}{error} {place(error)}"
    finally:
        if env:
            try:
                await asyncio.wait_for(env.close(), 20)
            except Exception as error:  # the verdict stands; what was left open is told
                print(f"# closing after {check.name}: {error!r}", file=sys.stderr)


def place(error):
    """Names the line of the check that failed."""
    for link in (error, error.__cause__):
        frames = [frame for frame in traceback.extract_tb(link.__traceback__) if "/checks/" in frame.filename] if link else []
        if frames:
            return f"({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})"
    return ""


async def answers(arguments):
    """Without an agent every check would spend its time-out: one look first."""
    env = await asyncio.wait_for(Env.open(arguments), 10)
    try:
        await env.alive()
        return True
    except asyncio.TimeoutError:
        return False
    finally:
        await env.close()


async def main(arguments):
    tally = {"ok": 0, "FAIL": 0, "skip": 0}
    if arguments.phase != "before" and not arguments.only and not await answers(arguments):
        print(f"FAIL agent_answers: {arguments.agent} did not answer `echo`; is it running?\n0 passed, 1 failed")
        return 1
    for check in chosen(arguments):
        began = time.monotonic()
        verdict, reason = await attempt(check, arguments)
        tally[verdict] += 1
        print(f"{verdict} {check.name}" + (f": {' '.join(reason.split())[:600]}" if reason else ""), flush=True)
        if arguments.verbose:
            print(f"#    {time.monotonic() - began:.2f} s", file=sys.stderr)
    if tally["skip"]:
        print(f"{tally['skip']} skipped")
    print(f"{tally['ok']} passed, {tally['FAIL']} failed")
    return 1 if tally["FAIL"] else 0


if __name__ == "__main__":
    options = parse()
    if options.list:
        for item in CHECKS:
            print(f"{item.group:12} {item.phase:7} {item.name}{'  (needs --mcpctl)' if item.needs_mcpctl else ''}")
        sys.exit(0)
    sys.exit(asyncio.run(main(options)))
