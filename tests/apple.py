"""A pretended Apple GPU: tensors that report the device ``mps``, compute on the CPU, and refuse float64 as MPS does.

``waits`` counts how often the host waits for it.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.accelerators.mps import MPSAccelerator
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

import cpnet

MPS = torch.device("mps", 0)
PACKAGE = str(Path(cpnet.__file__).parent)
# Operations whose result, or the size of whose result, the host reads
READING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal")
waits: Counter[str] = Counter()  # by the innermost function of the package


class AppleTensor(Tensor):
    """A tensor on the pretended device; autograd and C++ see a CPU tensor.

    An operation raises ``TypeError`` if its result is float64, and ``RuntimeError`` if a tensor of the host takes part.
    """

    host: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> AppleTensor:
        made: AppleTensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=inner.device
        )
        made.host = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return MPS

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        for each in tree_leaves((args, kwargs)):
            alone = isinstance(each, Tensor) and not isinstance(each, cls) and each.ndim
            if alone and not name.startswith(("index", "copy_", "_index_put")):
                raise RuntimeError(f"{func}: expected all tensors on {MPS}, got one on the CPU")
        masks = any(isinstance(each, Tensor) and each.dtype == torch.bool for each in tree_leaves(args[1:]))
        if name in READING or (masks and name.startswith("index")) or str(func) == "aten.repeat_interleave.Tensor":
            waits[_caller()] += 1
        plain_args, plain_kwargs = _on_host((tuple(args), kwargs))
        result = tree_map_only(Tensor, on_apple, func(*plain_args, **plain_kwargs))
        return return_and_correct_aliasing(func, args, kwargs, result)  # type: ignore[no-untyped-call]


def on_apple(tensor: Tensor) -> AppleTensor:
    """Copy a tensor of the host to the device.

    Raises:
        TypeError: the tensor is float64
    """
    if isinstance(tensor, AppleTensor):
        return tensor
    if tensor.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
    return AppleTensor(tensor)


class AppleMode(TorchFunctionMode):
    """Sends tensors to the device and back, and makes new ones there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name, tensor = getattr(func, "__name__", ""), args[0] if args else None
        if isinstance(tensor, Tensor) and name == "to":
            return _to(tensor, *args[1:], **kwargs)
        if isinstance(tensor, AppleTensor) and name in ("cpu", "tolist", "numpy"):
            waits[_caller()] += 1
            return func(tensor.host, *args[1:], **kwargs)
        if torch.device(kwargs.get("device") or "cpu").type != "mps":
            return func(*args, **kwargs)
        return on_apple(func(*args, **kwargs | {"device": "cpu"}))


def _to(tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):
        device, dtype = args[0].device, args[0].dtype
    else:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    there = (device or tensor.device).type == "mps"
    if isinstance(tensor, AppleTensor) and not there:
        waits[_caller()] += 1
        tensor = tensor.host
    if dtype not in (None, tensor.dtype):
        tensor = tensor.type(dtype)
    return on_apple(tensor) if there else tensor


def _caller() -> str:
    codes = (frame.f_code for frame, _ in traceback.walk_stack(None))
    inside = (f"{Path(each.co_filename).name}:{each.co_name}" for each in codes if each.co_filename.startswith(PACKAGE))
    return next(inside, "outside of the package")


def _on_host(content: Any) -> Any:
    return tree_map_only(AppleTensor, lambda each: each.host, content)


@contextmanager
def apple() -> Iterator[None]:
    """Pretend that this machine has an Apple GPU."""
    save: Any = torch.save
    with pytest.MonkeyPatch.context() as patch, AppleMode():
        patch.setattr(MPSAccelerator, "is_available", lambda: True)
        patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        patch.setattr(torch, "save", lambda content, stream: save(_on_host(content), stream))
        patch.setattr(torch, "inference_mode", torch.no_grad)  # which does not know tensors like these
        # C++ takes them for tensors of the CPU
        patch.setattr(clip_grad, "_group_tensors_by_device_and_dtype", lambda lists: {(MPS, None): (lists, None)})
        yield
