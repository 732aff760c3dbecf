"""What a solution returned: as what it is compared with, and whether it is the same."""

import copy
import math
import numbers
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Of a number that was worked out in float32.
RELATIVE = 1e-5


def is_in_other_clothes(value: object) -> bool:
    """Whether it is no tensor, but can be made one: an array, numbers, or tensors in a list."""
    return isinstance(value, np.ndarray | np.generic | bool | int | float | list | tuple)


def plain(value: object, wanted: object) -> object:
    """`value` as the kind of thing that is wanted, where it is one in other clothes; else as it is."""
    if isinstance(value, Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            value = dense(value.as_subclass(Tensor))
    if isinstance(wanted, Tensor):
        tensor = as_tensor(value) if is_in_other_clothes(value) else value
        # Tensors side by side are one answer only where they stack to it.
        return value if isinstance(value, list | tuple) and getattr(tensor, "shape", None) != wanted.shape else tensor
    if isinstance(value, numbers.Real) and not isinstance(value, bool | int | float | np.generic):
        return int(value) if value == int(value) else float(value)
    is_one_number = isinstance(value, Tensor | np.ndarray | np.generic) and np.prod(value.shape) == 1
    return value.item() if is_one_number else value


def dense(value: Tensor) -> Tensor:
    """A tensor on the CPU that can be read number by number."""
    value = value.to_padded_tensor(0.0) if value.is_nested else value
    value = value.dequantize() if value.is_quantized else value
    return (value if value.layout == torch.strided else value.to_dense()).cpu()


def as_tensor(value: object) -> object:
    """Numbers, or tensors of one shape in a list, as one tensor; what can't be one stays as it is."""
    try:
        if type(value) in (list, tuple) and any(isinstance(item, Tensor) for item in value):
            return torch.stack([torch.as_tensor(item) for item in value])
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return value


def agree(ours: Sequence[object], theirs: Sequence[object] | None) -> bool:
    """Whether all outputs are the same, up to rounding."""
    return theirs is not None and len(ours) == len(theirs) and all(map(same, ours, theirs))


def same(a: object, b: object) -> bool:
    """Whether two outputs are the same, up to the rounding of the coarser one's type, float16 at most."""
    if isinstance(b, float):
        # An integer may be too large for a float.
        return isinstance(a, int | float) and abs(a) < 1e300 and math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-9)
    if not isinstance(b, Tensor):
        return isinstance(a, bool | int | float | complex) and bool(a == b)
    if not isinstance(a, Tensor) or a.shape != b.shape or a.is_complex():
        return False
    rounding = max((torch.finfo(t.dtype).eps for t in (a, b) if t.is_floating_point()), default=0.0)
    rounding = max(1e-10, min(rounding, torch.finfo(torch.float16).eps))
    a, b = a.detach().double(), b.detach().double()
    return torch.allclose(a, b, rtol=0, atol=16 * rounding * max(1.0, b.abs().max().item() if b.numel() else 0.0))


def copied(value: object) -> object:
    """A copy: a solution that works in place must not change what others are compared with."""
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
