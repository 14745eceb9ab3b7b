"""The engine as it is at one moment."""

import dataclasses
from typing import Dict, List


@dataclasses.dataclass(frozen=True)
class CoreStatus:
    """One core, as counted since it was started.

    Attributes:
        index: its number in this process, as in ``"nc:0"``.
        global_index, chip, core: where it is on the host; a chip has 4 cores.
        up: whether it is there; False while it is being started again.
        lost: whether it died so often in a row that nothing waits for it; it is still started again.
        restarts: how often it was.
        executions, rows, padding_rows: what it ran.
        busy_seconds: how long it computed.
        up_seconds: how long it is there.
        model_bytes, models: what is loaded on it; weights are shared between cores.
    """

    index: int
    global_index: int
    chip: int
    core: int
    up: bool
    lost: bool
    restarts: int
    executions: int
    rows: int
    padding_rows: int
    busy_seconds: float
    up_seconds: float
    model_bytes: int
    models: int


@dataclasses.dataclass(frozen=True)
class ModelStatus:
    """One :class:`DataParallel`, as counted since it was made.

    Attributes:
        id: a number of its own.
        content_hash: of its model.
        cores: the indices of those that it may use.
        queued_rows, queued_bytes: what was accepted and does not run yet.
        unanswered: requests.
        executions_in_flight: on cores now.
        rows: how many were accepted.
        outcomes: how many requests were answered or refused, by code; ``"ok"`` for those that went well.
        queued_seconds, compute_seconds, total_seconds: what half, 90 % and 99 % of the requests that went well did not
            pass, as ``{0.5: ..., 0.9: ..., 0.99: ...}``; not a number where there were none. ``total`` is from
            acceptance to answer.
    """

    id: int
    content_hash: str
    cores: List[int]
    queued_rows: int
    queued_bytes: int
    unanswered: int
    executions_in_flight: int
    rows: int
    outcomes: Dict[str, int]
    queued_seconds: Dict[float, float]
    compute_seconds: Dict[float, float]
    total_seconds: Dict[float, float]


@dataclasses.dataclass(frozen=True)
class Status:
    """All cores of this process and what waits for them.

    Attributes:
        cores: one :class:`CoreStatus` a core.
        models: one :class:`ModelStatus` a DataParallel.
        queued_rows, queued_bytes: what was accepted and does not run yet.
        unanswered: requests.
        executions_in_flight: on cores now.
        abandoned_lanes, abandoned_bytes: threads that were given up because they hung, and have not ended; what they
            keep alive.
    """

    cores: List[CoreStatus]
    models: List[ModelStatus]
    queued_rows: int
    queued_bytes: int
    unanswered: int
    executions_in_flight: int
    abandoned_lanes: int
    abandoned_bytes: int


def status_from(values):
    cores = [CoreStatus(**core) for core in values["cores"]]
    models = [ModelStatus(**model) for model in values["models"]]
    return Status(**{**values, "cores": cores, "models": models})
