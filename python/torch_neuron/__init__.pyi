import concurrent.futures
import dataclasses
from typing import Any, Callable, Dict, List, Literal, Optional, Sequence, Union

import torch

from .errors import NeuronCancelledError as NeuronCancelledError
from .errors import NeuronError as NeuronError
from .errors import NeuronOSError as NeuronOSError
from .errors import NeuronRuntimeError as NeuronRuntimeError
from .errors import NeuronTimeoutError as NeuronTimeoutError
from .errors import NeuronTypeError as NeuronTypeError
from .errors import NeuronValueError as NeuronValueError

__version__: str
_DeviceId = Union[int, str]

class NeuronWarning(UserWarning): ...
class NeuronModule(torch.jit.RecursiveScriptModule): ...

class RequestFuture(concurrent.futures.Future[Any]):
    def __init__(self) -> None: ...
    def cancel(self) -> bool: ...

@dataclasses.dataclass(frozen=True)
class CoreStatus:
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
    cores: List[CoreStatus]
    models: List[ModelStatus]
    queued_rows: int
    queued_bytes: int
    unanswered: int
    executions_in_flight: int
    abandoned_lanes: int
    abandoned_bytes: int

def status() -> Status: ...
def trace(
    func: Union[torch.nn.Module, Callable[..., Any]],
    example_inputs: Any,
    *,
    example_kwarg_inputs: Optional[Dict[str, Any]] = ...,
    auto_cast: Literal["none", "bf16"] = ...,
    tune: bool = ...,
    compiler_workdir: Any = ...,
    compiler_args: Any = ...,
    compiler_timeout: Any = ...,
    dynamic_batch_size: Any = ...,
    separate_weights: Any = ...,
    verbose: Any = ...,
) -> NeuronModule: ...

class DataParallel(torch.nn.Module):
    module: torch.jit.ScriptModule
    dim: int
    num_workers: int
    split_size: Optional[int]
    def __init__(
        self,
        model: torch.jit.ScriptModule,
        device_ids: Optional[Sequence[_DeviceId]] = ...,
        dim: int = ...,
        set_dynamic_batching: Optional[bool] = ...,
        *,
        num_workers: Optional[int] = ...,
        split_size: Optional[int] = ...,
    ) -> None: ...
    def __call__(self, *inputs: Any, **kwargs: Any) -> Any: ...
    def forward(self, *inputs: Any, **kwargs: Any) -> Any: ...
    def submit(
        self,
        *inputs: Any,
        timeout: Optional[float] = ...,
        priority: Literal["high", "normal", "low"] = ...,
        tenant: str = ...,
        **kwargs: Any,
    ) -> RequestFuture: ...
    async def async_forward(
        self,
        *inputs: Any,
        timeout: Optional[float] = ...,
        priority: Literal["high", "normal", "low"] = ...,
        tenant: str = ...,
        **kwargs: Any,
    ) -> Any: ...
    def disable_dynamic_batching(self) -> None: ...
    @property
    def dynamic_batching(self) -> bool: ...
    @property
    def device_ids(self) -> List[int]: ...
    @property
    def warnings(self) -> List[str]: ...
    def status(self) -> Status: ...
    def close(self) -> None: ...
    def __enter__(self) -> "DataParallel": ...
    def __exit__(self, *exception: Any) -> None: ...
