"""A fake GPU: tensors that claim to be on cuda:0 and are computed on the CPU.

Inside `FakeCuda`, tensors that its thread puts on "cuda" become `FakeCudaTensor`s. As on a real GPU, operations on
tensors of both devices fail, and the host continues while the device works: every wait of the host is recorded. It
waits for blocking copies, and for results whose size or value it needs. Not simulated: memory, speed, gradients, pinned
memory, and other rounding.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from pipeline.teacher.generator.batched_regions import tile_sides

NAME, MEMORY = "a fake GPU", 16 << 30
_ROOT = Path(__file__).resolve().parents[1]
_aten: Any = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_PUTS = {_aten.index_put_.default, _aten._index_put_impl_.default}
_READING = {_aten._local_scalar_dense.default, _aten.equal.default}
_COUNTING = {_aten.nonzero.default, _aten.masked_select.default}
_IDLE = ("empty", "new_empty", "lift_fresh", "detach")
"""Prefixes of operations, besides views, that give the device no work."""


class FakeCudaTensor(Tensor):
    """A tensor that claims to be on the GPU."""

    held: Tensor

    def __new__(cls, held: Tensor) -> Self:
        """`held` is on the CPU."""
        own: Any = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device("cuda", 0),
        )  # fmt: skip
        own.held = held
        return own

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse operations outside of `FakeCuda`."""
        raise AssertionError(f"{func} was called outside of FakeCuda, or from another thread")


class FakeCuda(TorchDispatchMode):
    """A context in which there is a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        """Where the host waited for work of the GPU: file and line of the project, and the operation."""
        self._is_busy = False
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        torch._C._ensureCUDADeviceGuardSet()
        facts = {"device_count": 1, "get_device_name": NAME, "mem_get_info": (MEMORY, MEMORY), "memory_reserved": 0,
                 "memory_allocated": 0, "_lazy_init": None}  # fmt: skip
        for name, fact in facts.items():
            self._undo.enter_context(mock.patch(f"torch.cuda.{name}", return_value=fact))
        self._undo.enter_context(mock.patch("torch.__future__.get_overwrite_module_params_on_conversion", lambda: True))
        self._undo.enter_context(torch.backends.cudnn.flags(enabled=False))  # it has operations that a CPU has not
        self._undo.callback(tile_sides.cache_clear)  # what was tried here holds for no true GPU
        torch._C._set_only_lift_cpu_tensors(True)  # what torch.tensor makes is copied, and seen here
        self._undo.callback(torch._C._set_only_lift_cpu_tensors, False)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._undo.close()

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, named)) if isinstance(leaf, Tensor)]
        wanted = None if named.get("device") is None else torch.device(named["device"]).type
        is_there = wanted == "cuda" or (
            wanted is None and any(isinstance(tensor, FakeCudaTensor) for tensor in tensors)
        )
        self._follow(func, args, named, tensors, is_there)
        if func is _aten._fused_sdp_choice.default:
            return 0  # attention in operations that every device has
        if wanted == "cuda":
            named["device"] = torch.device("cpu")
        given = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, FakeCudaTensor)}

        def placed(result: Any) -> Any:
            if not isinstance(result, Tensor) or not is_there:
                return result
            return (
                given[id(result)] if id(result) in given else FakeCudaTensor(result)
            )  # it may have been written in place

        return tree_map(placed, func(*tree_map(_held, args), **tree_map(_held, named)))

    def _follow(self, func: Any, args: Any, named: Mapping[str, Any], tensors: list[Tensor], is_there: bool) -> None:
        """Note what the GPU gets to do, and whether the host waits for it.

        Raises:
            RuntimeError: tensors of both sides meet.
        """
        sides, is_copy = {isinstance(tensor, FakeCudaTensor) for tensor in tensors}, func in _COPIES
        indices = [index for index in args[1] if index is not None] if func in _PUTS | {_aten.index.Tensor} else []
        if not is_copy and not indices and len({isinstance(t, FakeCudaTensor) for t in tensors if t.ndim > 0}) == 2:
            raise RuntimeError(f"{func} of tensors on the GPU and tensors on the CPU")
        if not is_there and True not in sides:
            return
        crosses = is_copy and sides != {is_there}
        may_go_on = is_there and (named.get("non_blocking") or any(arg is True for arg in args[2:]))
        is_fill = func in _PUTS and args[2].numel() == 1
        searches = any(
            not isinstance(index, FakeCudaTensor) or (index.dtype == torch.bool and not is_fill) for index in indices
        )
        if (crosses and not may_go_on) or func in _READING | _COUNTING or searches:
            if self._is_busy:
                self.waits.append(f"{_place()} {func.overloadpacket.__name__}")
            self._is_busy = not crosses and func not in _READING
        elif not func.is_view and not func.overloadpacket.__name__.startswith(_IDLE):
            self._is_busy = True


def _held(value: Any) -> Any:
    return value.held if isinstance(value, FakeCudaTensor) else value


def _place() -> str:
    folders = tuple(str(_ROOT / name) for name in ("goodsam", "pipeline", "stages"))
    frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(folders)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "a test"
