"""Looks at the gates of a network while it runs, and puts others in their place."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from gamlib._checks import unknown_name
from gamlib._modules import named_modules, on_its_device, unwrapped
from gamlib.attention import TripletAttention

# TAM computes two of its gates on rotated maps. Both rotations swap two dimensions, so each is its own inverse.
ROTATED = {"cw_gate": (1, 2), "ch_gate": (1, 3)}
GATE = re.compile(r"(^|[._])gate$")
SIGMOIDS = (nn.Sigmoid, nn.Hardsigmoid)


def list_gates(model: nn.Module) -> list[str]:
    """Names of the modules whose output is a gate, in the network's order, as if torch.compile or DataParallel wrapped
    nothing.

    A gate is what a module called `gate` or `..._gate` returns, as all of gamlib's and many of timm's do; elsewhere,
    what a sigmoid module returns (torchvision's squeeze-and-excitation). So it goes by names, and may be wrong about
    other people's; and one that is only called as a function, torch.sigmoid(x), can't be seen from outside.
    """
    names = [name for name, module in named_modules(model).items() if GATE.search(name) or isinstance(module, SIGMOIDS)]
    return [name for name in names if not any(name.startswith(f"{outer}.") for outer in names)]


def capture_gates(model: nn.Module, x: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """All gates of one forward pass, without gradients: name of the gate's module -> gate.

    Each is turned so that it lies on the (N, C, H, W) map that it scales, a 1 standing for a dimension along which it
    is the same: SE (N, C, 1, 1), CBAM's second (N, 1, H, W), GAM (N, C, H, W). TAM's `cw_gate` and `ch_gate`, which
    are computed on rotated maps, come as (N, C, 1, W) and (N, C, H, 1). Gates of other libraries come as they are.

    Args:
        model: any network; it keeps its mode, so call .eval() first where it has BatchNorm or dropout.
        x: a batch as the network takes it, normalised as in its training.
        names: of the modules to look at; None is `list_gates(model)`.

    Raises:
        ValueError: for a name that is no module's, a network without gates, or a module that does not run just once.
    """
    found: dict[str, Tensor] = {}

    def look(name: str, module: nn.Module, inputs: tuple, gate: Tensor) -> None:
        if name in found:
            raise ValueError(f"module {name!r} runs more than once in a pass, so it has no single gate")
        found[name] = turn(modules, name, gate).detach().clone()

    names, modules = _checked(model, names), named_modules(model)
    with torch.no_grad(), hooked(model, names, look):
        unwrapped(model)(*on_its_device(model, x))
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{len(missing)} of the modules did not run, such as {missing[0]!r}; leave them out of names")
    return found


@contextmanager
def replace_gates(model: nn.Module, gates: Mapping[str, Tensor | Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """While it is open, the network uses these gates in the place of its own: does the answer follow them?

        with replace_gates(network, {"layer1.0.attention.spatial_gate": others}):
            answers = network(x).argmax(1)

    Args:
        model: any network.
        gates: name of a gate's module -> the gate to use, as `capture_gates` returns it, or anything that broadcasts
            to that shape; or a function of the network's own gate, such as `lambda gate: gate.mean(0, keepdim=True)`.

    Raises:
        ValueError: for a name that is no module's; during the forward pass, for a gate that does not fit.
    """

    def swap(name: str, module: nn.Module, inputs: tuple, gate: Tensor) -> Tensor:
        own, given = turn(modules, name, gate), gates[name]
        new = given(own) if callable(given) else given
        if not isinstance(new, Tensor):
            raise ValueError(f"the gate for {name!r} must be a tensor, got {type(new).__name__}")
        try:
            return turn(modules, name, normal(new.to(own)).expand_as(own))
        except RuntimeError:
            raise ValueError(
                f"the gate for {name!r} has shape {tuple(new.shape)}; expected {tuple(own.shape)}, or what "
                "broadcasts to it"
            ) from None

    if not isinstance(gates, Mapping):
        raise ValueError(f"gates must be a mapping of names to gates, got {type(gates).__name__}")
    names, modules = _checked(model, list(gates)), named_modules(model)
    with hooked(model, names, swap):
        yield


def normal(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy of one made under torch.inference_mode(), which autograd could not keep."""
    return tensor.clone() if tensor.is_inference() else tensor


def turn(modules: Mapping[str, nn.Module], name: str, gate: Tensor) -> Tensor:
    """A gate between how its module returns it and how it lies on the map; the way back is the same.

    Raises:
        ValueError: for what is no tensor.
    """
    if not isinstance(gate, Tensor):
        raise ValueError(f"module {name!r} returns {type(gate).__name__}, so it is no gate; leave it out of names")
    parent, _, own_name = name.rpartition(".")
    if own_name in ROTATED and isinstance(modules[parent], TripletAttention):
        return gate.transpose(*ROTATED[own_name])
    return gate


def _checked(model: nn.Module, names: Sequence[str] | None) -> list[str]:
    if names is None:
        names = list_gates(model)
        if not names:
            raise ValueError(
                f"found no gate in {type(model).__name__}: no module of it is called gate or ..._gate, and none is a "
                "sigmoid; pass names=[...] of the modules that return gates"
            )
    if isinstance(names, str):
        raise ValueError(f"names must be a list of names, got the string {names!r}")
    modules = named_modules(model)
    for name in names:
        if name not in modules or not name:
            raise unknown_name("module", name, list_gates(model) or [other for other in modules if other])
    return list(names)


@contextmanager
def hooked(model: nn.Module, names: Sequence[str], hook: Callable) -> Iterator[None]:
    """While it is open, the modules of these names have the forward hook, which gets the name first. Nothing runs
    compiled meanwhile: compiled code does not see new hooks."""
    modules = named_modules(model)
    with torch.compiler.set_stance("force_eager"), ExitStack() as stack:
        for name in names:
            stack.enter_context(modules[name].register_forward_hook(partial(hook, name)))
        yield
