"""The list of checks, and what a check is given: a peer of its own, the agent's name, and probes it may start."""

import asyncio
import contextlib
import signal
import uuid
from dataclasses import dataclass

import expect
from mcp_peer import LANES, Peer

CHECKS = []


@dataclass
class Check:
    name: str
    group: str
    phase: str
    timeout: float
    needs_mcpctl: bool
    run: object


class Skip(Exception):
    """Raised by a check that cannot be made here."""


def check(group="spine", *, phase="main", timeout=20.0, needs_mcpctl=False):
    """Registers a coroutine as a check named like itself."""

    def register(function):
        CHECKS.append(Check(function.__name__, group, phase, timeout, needs_mcpctl, function))
        return function

    return register


class Env:
    """What one check works with. Everything it opens is closed by `close`."""

    def __init__(self, peer, arguments):
        self.peer, self.arguments = peer, arguments
        self.ns, self.agent = peer.ns, arguments.agent
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def open(cls, arguments):
        return cls(await Peer.connect(arguments.server, arguments.namespace), arguments)

    def later(self, coroutine_function, *args):
        """Has something done when the check is over, whatever its verdict."""
        self._stack.push_async_callback(coroutine_function, *args)

    async def close(self):
        await self._stack.aclose()
        await self.peer.close()

    def unique(self, prefix="k"):
        return f"{prefix}-{uuid.uuid4().hex[:10]}"

    def command(self, action, /, *args, **kwargs):
        return self.peer.command(self.agent, action, *args, **kwargs)

    async def call(self, action, /, *args, **kwargs):
        return await self.peer.call(self.agent, action, *args, **kwargs)

    async def ok(self, action, /, *args, **kwargs):
        """Calls and returns the result of the good response."""
        return expect.ok(*await self.call(action, *args, **kwargs))

    async def alive(self, agent=None):
        """The agent still answers."""
        word = self.unique("alive")
        result = expect.ok(*await self.peer.call(agent or self.agent, "echo", {"word": word}))
        assert result == {"word": word}, f"echo answered {result!r}"

    async def capacity(self, agent=None):
        """The agent's capacity, as its reply frames state it."""
        _, frame = await self.peer.call(agent or self.agent, "echo", {})
        load = frame.fields.get("load")
        if not isinstance(load, dict) or not 0 < load.get("capacity", 0) <= 2000:
            raise Skip(f"capacity unknown or too large to fill: load is {load!r}")
        return load["capacity"]

    async def mcpctl(self, *arguments, **kwargs):
        """Starts mcpctl; the process is ended with the check."""
        process = await asyncio.create_subprocess_exec(
            self.arguments.mcpctl, "--server", self.arguments.server, "--namespace", self.ns, *arguments,
            stdin=asyncio.subprocess.DEVNULL, **kwargs)
        self.later(end, process)
        return process

    async def start_probe(self, name, *arguments, capacity=8):
        """Starts a probe of this check's own and waits until it answers."""
        log = asyncio.subprocess.DEVNULL if not self.arguments.verbose else None
        self.later(self.forget, name)
        process = await self.mcpctl("probe", "--name", name, "--capacity", str(capacity), *arguments,
                                    stdout=log, stderr=log)
        expect.ok(*await self.peer.call(name, "echo", {}, timeout=15))
        return process

    async def forget(self, name):
        """Removes the consumers of an agent that was this check's own."""
        for lane in LANES:
            await self.peer.api(f"CONSUMER.DELETE.{self.ns}_commands.{name}_{lane}")


async def end(process):
    """Ends a process we started, by its own id."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
