"""What a module does with a tensor, step by step, as one forward pass of it shows: nothing here is typed by hand."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Functions that only ask, and properties: no steps.
PASSED = ("__get__", "__set__", "size", "dim", "numel", "is_floating_point")
SHORT = {"__mul__": "mul", "__rmul__": "mul", "__add__": "add", "__radd__": "add", "__truediv__": "div"}


@dataclass(frozen=True)
class Step:
    """One operation, or a whole layer; the first step is the input itself."""

    name: str  # unique: "x", a layer's name in the module, or a function's with its number, "mean", "mul.2" ...
    operation: str  # the layer's class or the function's name
    shape: tuple[int, ...]  # of the result, without N
    parents: tuple[str, ...]  # the steps whose results it takes
    layer: nn.Module | None = None


def record(module: nn.Module, x: Tensor, whole: Collection[str] = ()) -> dict[str, Step]:
    """The steps of `module(x)` by name, in the order of the pass.

    Args:
        module: in eval, or in training where its batch statistics allow it.
        x: (N, C, H, W).
        whole: names of parts that count as one layer, whatever is in them.
    """
    steps = {"x": Step("x", "input", tuple(x.shape[1:]), ())}
    names = {layer: name for name, layer in module.named_modules()}
    inside: list[nn.Module] = []  # the layer that is running; what it calls is its own business
    mark = "_step"

    def add(operation: str, inputs: Any, result: object, name: str = "", layer: nn.Module | None = None) -> None:
        if not isinstance(result, Tensor):
            return
        number = 1 + sum(step.operation == operation and not step.layer for step in steps.values())
        name = name or (operation if number == 1 else f"{operation}.{number}")
        name = f"{name}.again" if name in steps else name  # a layer that runs twice
        parents = tuple(dict.fromkeys(getattr(t, mark) for t in _tensors(inputs) if hasattr(t, mark)))
        steps[name] = Step(name, operation, tuple(result.shape[1:]), parents, layer)
        setattr(result, mark, name)

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function: Callable, types: Any, args: Any = (), kwargs: Any = None) -> object:
            result = function(*args, **(kwargs or {}))
            operation = getattr(function, "__name__", str(function))
            operation = SHORT.get(operation, operation)
            if not inside and operation not in PASSED:
                add(operation, args, result)
            return result

    def enter(layer: nn.Module, args: tuple) -> None:
        inside.append(layer)

    def leave(layer: nn.Module, args: tuple, result: object) -> None:
        inside.pop()
        if inside:
            return
        add(type(layer).__name__, args, result, names[layer], layer)

    handles = []
    for layer in module.modules():
        if not any(layer.children()) or names[layer] in whole:
            handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        setattr(x, mark, "x")
        with torch.no_grad(), Functions():
            module(x)
    finally:
        delattr(x, mark)
        for handle in handles:
            handle.remove()
    return steps


def _tensors(inputs: Any) -> list[Tensor]:
    if isinstance(inputs, Tensor):
        return [inputs]
    return [t for each in inputs for t in _tensors(each)] if isinstance(inputs, list | tuple) else []
