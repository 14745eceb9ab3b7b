"""The engine as it is at one moment."""

import dataclasses
from typing import List


@dataclasses.dataclass(frozen=True)
class CoreStatus:
    """One core, as counted since it was started.

    Attributes:
        index: its number in this process, as in ``"nc:0"``.
        global_index, chip, core: where it is on the host; a chip has 4 cores.
        up: whether it is there; False while it is being started again.
        restarts: how often it was.
        executions, rows, padding_rows: what it ran.
        busy_seconds: how long it computed.
        model_bytes, models: what is loaded on it; weights are shared between cores.
    """

    index: int
    global_index: int
    chip: int
    core: int
    up: bool
    restarts: int
    executions: int
    rows: int
    padding_rows: int
    busy_seconds: float
    model_bytes: int
    models: int


@dataclasses.dataclass(frozen=True)
class Status:
    """All cores of this process and what waits for them.

    Attributes:
        cores: one :class:`CoreStatus` a core.
        queued_rows, queued_bytes: what was accepted and does not run yet.
        unanswered: requests.
        executions_in_flight: on cores now.
        abandoned_lanes: threads that were given up because they hung, and have not ended.
    """

    cores: List[CoreStatus]
    queued_rows: int
    queued_bytes: int
    unanswered: int
    executions_in_flight: int
    abandoned_lanes: int


def status_from(values):
    return Status(**{**values, "cores": [CoreStatus(**core) for core in values["cores"]]})
