"""Importing this package registers every check, in the order they are run."""

from . import topology, commands, values, invalid, dead_letters, hostile, control, events  # noqa: F401
from . import phases, lifecycle, requester  # noqa: F401
from . import presence, idempotency, outcomes, retry, redelivery, payloads, packs  # noqa: F401
from . import workflow_start, workflow_record, workflow_control, workflow_stop, workflow_checkpoints  # noqa: F401
from . import workflow_events, workflow_invalid, workflow_failure  # noqa: F401
