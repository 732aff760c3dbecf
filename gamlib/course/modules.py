"""A reader's module: how its class is called, and how the reference's weights get into it."""

import copy
import inspect
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gamlib.course.exercise import Trial
from gamlib.course.values import copied

# Orders of layers of the same shapes that are tried.
ORDERS = 128


def build(cls: type[nn.Module], construct: dict[str, int]) -> nn.Module:
    """The class called with what it takes: by name, or by place where it has other names."""
    parameters = [p for p in inspect.signature(cls).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return cls(**construct)
    names = [p.name for p in parameters]
    given = {name: value for name, value in construct.items() if name in names}
    for place, (name, value) in enumerate(construct.items()):
        if name not in names and place < len(names) and names[place] not in construct:
            given[names[place]] = value
    return cls(**given)


def modules_for(solution: type[nn.Module] | nn.Module, trials: Sequence[Trial]) -> list[nn.Module]:
    """One for each trial: built, or a copy of the one that there is; with lazy layers of their sizes."""
    is_built = isinstance(solution, nn.Module)
    modules = [copy.deepcopy(solution).cpu() if is_built else build(solution, trial.construct) for trial in trials]
    for module, trial in zip(modules, trials, strict=True):
        make_sizes(module, trial)
    return modules


def make_sizes(module: nn.Module, trial: Trial) -> None:
    """Let lazy layers learn their sizes."""
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        module(*(value.float() if isinstance(value, Tensor) else copied(value) for value in trial.inputs))


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without ones: a 1x1 convolution's is a Linear's."""
    return [size for size in tensor.shape if size != 1]


def is_layer(module: nn.Module) -> bool:
    """Whether its parameters stand in PyTorch's order: weight (out, in), then bias."""
    return type(module).__module__.startswith("torch.nn.modules") and not isinstance(
        module, nn.ParameterList | nn.ParameterDict
    )


def units(module: nn.Module) -> list[list[tuple[str, nn.Parameter, bool]]]:
    """Parameters that stay together, in the order of declaration: a layer's, or one of the reader's own alone.

    Each with its name, and whether it is a layer's.
    """
    found, seen = [], set()
    for prefix, child in module.named_modules():
        own = [
            (f"{prefix}.{name}".lstrip("."), p, is_layer(child))
            for name, p in child.named_parameters(recurse=False)
            if id(p) not in seen
        ]
        seen |= {id(p) for _, p, _ in own}
        found += [own] if own and is_layer(child) else [[one] for one in own]
    return found


def takes(p: nn.Parameter, weight: Tensor, of_layer: bool) -> bool:
    """Whether a weight fits; a matrix of the reader's own may be (in, out)."""
    ours, theirs = squeezed(p), squeezed(weight)
    return ours == theirs or (not of_layer and len(ours) == 2 and ours[::-1] == theirs)


def orders(module: nn.Module, weights: Sequence[Tensor]) -> list[list[int]]:
    """Orders of the module's units in which the weights fit, that of declaration first."""
    parts = units(module)

    def complete(order: list[int], filled: int) -> Iterator[list[int]]:
        if filled == len(weights) and len(order) == len(parts):
            yield order
        for i, part in enumerate(parts):
            if i not in order and filled + len(part) <= len(weights):
                meant = weights[filled : filled + len(part)]
                if all(takes(p, w, of_layer) for (_, p, of_layer), w in zip(part, meant, strict=True)):
                    yield from complete([*order, i], filled + len(part))

    found = []
    for order in complete([], 0):
        found.append(order)
        if len(found) == ORDERS:
            break
    return found


def in_order(module: nn.Module, order: Sequence[int]) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters, weight by weight."""
    parts = units(module)
    return [(name, p) for i in order for name, p, _ in parts[i]]


@torch.no_grad()
def fill(parameters: Sequence[nn.Parameter], weights: Sequence[Tensor]) -> None:
    """Set the parameters to the weights."""
    for p, weight in zip(parameters, weights, strict=True):
        weight = weight if squeezed(p) == squeezed(weight) else weight.T
        p.copy_(weight.reshape(p.shape))


@torch.no_grad()
def gives_the_same(ours: nn.Module, theirs: nn.Module, x: Tensor) -> bool:
    """Whether `ours`, with the weights of `theirs`, gives what `theirs` gives, up to rounding.

    Layers may be declared in any order in which the weights fit. `ours` keeps the weights.
    """
    weights, wanted = list(theirs.parameters()), theirs(x)
    for order in orders(ours, weights):
        fill([p for _, p in in_order(ours, order)], weights)
        if torch.allclose(ours(x), wanted, rtol=0, atol=1e-5):
            return True
    return False
