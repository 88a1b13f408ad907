"""Importing this package registers every check, in the order they are run."""

from . import topology, commands, values, invalid, dead_letters, hostile, control, events  # noqa: F401
from . import phases, lifecycle, requester  # noqa: F401
from . import presence, idempotency, outcomes, retry, redelivery, payloads, packs  # noqa: F401
