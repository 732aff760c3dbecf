"""Where attention can stand in a network: seen in one forward pass of a copy, not guessed from its layers."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from gamlib._checks import unknown_name
from gamlib._modules import unwrapped
from gamlib.attention import create_attention, list_attention
from gamlib.cost import count_macs, count_parameters, meta_copy

SIZES = (64, 224)  # of the image that is tried, where none is given and the network names none
MERGING = ("fuse", "fuse_convs", "reparameterize", "switch_to_deploy")  # methods of blocks that can
ADDS = ("add", "add_", "__add__", "__radd__", "__iadd__")
ACTIVATIONS = ("relu", "relu_", "silu", "silu_", "gelu", "hardswish", "hardswish_", "leaky_relu", "leaky_relu_")


@dataclass(frozen=True)
class Place:
    """A module that runs once in a forward pass, and whose output (N, C, H, W) attention may follow."""

    name: str
    shape: tuple[int, int, int]  # (C, H, W) of its output, for the image that was tried
    kind: str  # its class
    addition: str = ""  # "before" or "after", where a residual addition takes its output or gives it

    def price(self, attention: str) -> tuple[int, int]:
        """Parameters and MACs (for one image) of a mechanism here, with its own options.

        Raises:
            ValueError: where these can't be: fewer channels than the reduction, for example.
        """
        return _price(attention, self.shape)


class Places(list[Place]):
    """The places of a network, in the order of its modules. To be printed, and to be used as `where`."""

    def __str__(self) -> str:
        """A Markdown table, with parameters and million MACs of each mechanism; a dash where it can't be."""
        names = list_attention()
        rows = [["module", "output", "class", "addition", *names], ["---"] * (4 + len(names))]
        for place in self:
            shape = " x ".join(map(str, place.shape))
            rows.append([place.name, shape, place.kind, place.addition, *(_shown(name, place) for name in names)])
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def _repr_markdown_(self) -> str:
        return str(self)


def attention_places(model: nn.Module, x: Tensor | tuple | None = None) -> Places:
    """All modules of `model` that `insert_attention` can put attention behind.

    Left out are a BatchNorm behind a convolution and that convolution: whoever fuses the two into one would lose what
    stands between or behind them. Their block is the place.

    Args:
        model: any network; it is left as it is.
        x: an example input, or a tuple of several; where it is None, the network's own configured size is tried (timm),
            then images of 64 x 64 and of 224 x 224.

    Raises:
        ValueError: where the network can't be copied, or no image that was tried goes through it; give one as `x`.
    """
    return Places(place for place in observe(model, x).values() if isinstance(place, Place))


def observe(model: nn.Module, x: Tensor | tuple | None = None) -> dict[str, Place | str]:
    """For each module by name, its place, or a sentence's end that says why it is none. Raises as above."""
    model = unwrapped(model)
    seen = _run(model, x)
    found: dict[str, Place | str] = {}
    inside = {part for m in model.modules() for part in getattr(attached(m), "modules", list)()}
    merging = [m for name, m in model.named_modules() if name and _merges(name, m, seen.before)]
    merged = {part: m for m in merging for part in m.modules() if part is not m}
    first = {module: name for name, module in model.named_modules()}
    for name, module in model.named_modules(remove_duplicate=False):
        if name:
            found[name] = _place(name, module, module in inside, seen)
        if name != first[module]:
            found[name] = f"is {first[module]!r} under another name"
        if module in merged and isinstance(found[name], Place):
            found[name] = f"is a part of a {type(merged[module]).__name__}, which can merge its branches into one layer"
    return found


def attached(module: nn.Module) -> nn.Module | None:
    """The attention that `insert_attention` or `create_model` put into or behind a module; None where there is none."""
    parts = (getattr(module, name, None) for name in ("attention", "se"))  # `se`: timm's slot
    return next((part for part in parts if getattr(part, "is_inserted", False)), None)


def channels_of(names: Sequence[str], found: dict[str, Place | str]) -> dict[str, int]:
    """The width of each place by name. Raises ValueError for the first that is none, with what to name instead."""
    for name in names:
        if name not in found:
            raise unknown_name("module", name, [known for known, place in found.items() if isinstance(place, Place)])
        if isinstance(reason := found[name], str):
            above = [name[:i] for i, letter in enumerate(name) if letter == "."][::-1]
            below = [other for other in found if other.startswith(f"{name}.")]
            near = [other for other in (*above, *below) if isinstance(found[other], Place)]
            behind = [other for other in list(found)[list(found).index(name) :] if isinstance(found[other], Place)]
            instead = near[:3] or behind[:1]
            advice = f"; name {' or '.join(map(repr, instead))} instead" if instead else ""
            raise ValueError(f"attention can't stand behind module {name!r}: it {reason}{advice}")
    return {name: found[name].shape[0] for name in names}


def _merges(name: str, module: nn.Module, before: set[str]) -> bool:
    """Whether it is trained as several branches, which are added, and used as one convolution, as in RepVGG."""
    children = list(module.named_children())
    lists = [(f"{at}.{i}", m) for at, m in children if isinstance(m, nn.ModuleList) for i, m in enumerate(m)]
    branches = [at for at, _ in (*children, *lists) if f"{name}.{at}" in before]
    return len(branches) > 1 and any(callable(getattr(module, method, None)) for method in MERGING)


@cache
def _price(attention: str, shape: tuple[int, int, int]) -> tuple[int, int]:
    with torch.device("meta"):
        module = create_attention(attention, shape[0])
    return count_parameters(module), count_macs(module, shape)


def _shown(attention: str, place: Place) -> str:
    try:
        parameters, macs = place.price(attention)
    except ValueError:
        return "–"
    return f"{parameters:,}; {macs / 1e6:,.1f}"


@dataclass
class _Seen:
    """What modules did in one pass: by name, as the copy's named_modules has it."""

    outputs: dict[str, list[object]]
    fused: dict[str, str]  # why conv-BN fusing would lose what stands behind a module
    before: set[str]  # whose output a residual addition takes
    after: set[str]  # whose output it gives, an activation behind it counted in
    iterates: set[str]  # which run whatever parts they have, and would run attention among them


def _place(name: str, module: nn.Module, is_inside: bool, seen: _Seen) -> Place | str:
    outputs = seen.outputs[name]
    kind = type(module).__name__
    if is_inside:
        return "is a part of an attention module"
    if attached(module) is not None:
        return "has an attention module already (remove_attention takes it out)"
    if hasattr(module, "attention"):
        return f"({kind}) has an attention of its own, under the name that the new one would have"
    if _is_container(module) or name in seen.iterates:
        return f"({kind}) runs its parts, whatever they are, in its own way"
    if len(outputs) != 1:
        how = "is never run as a whole" if not outputs else f"runs {len(outputs)} times"
        return f"({kind}) {how} in a forward pass"
    if not isinstance(outputs[0], torch.Size):
        return f"({kind}) returns {outputs[0]}, not a map (N, C, H, W) of the image's shape"
    above = [name[:i] for i, letter in enumerate(name) if letter == "."]  # timm's norms hold an activation
    if reason := next((seen.fused[n] for n in (name, *above) if n in seen.fused), None):
        return reason
    addition = [word for word in ("before", "after") if name in getattr(seen, word)]
    return Place(name, tuple(outputs[0][1:]), kind, " and ".join(addition))


def _run(model: nn.Module, x: Tensor | tuple | None) -> _Seen:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    given = None if x is None else x if isinstance(x, tuple) else (x,)
    errors = []
    for shape in [None] if given else _shapes(model):
        for device in ("meta", like.device):
            try:
                copied = meta_copy(model) if device == "meta" else copy.deepcopy(model)
            except Exception as error:  # a network may hold anything
                errors.append(f"it can't be copied: {error}")
                continue
            with torch.random.fork_rng(devices=[]):  # zeros would do, but detectors find nothing in them
                tried = given or (torch.rand(1, *shape, dtype=like.dtype),)
                tried = tuple(t.to(device) if isinstance(t, Tensor) else t for t in tried)
                try:
                    return _watch(copied.eval(), tried)
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if given:
        raise ValueError(f"{type(model).__name__} refuses the example input x: {errors[-1]}")
    raise ValueError(
        f"no image that was tried goes through {type(model).__name__} ({errors[-1]}); give an example input as x, or "
        "name the places with their widths: where={'module': channels}"
    )


def _shapes(model: nn.Module) -> list[tuple[int, int, int]]:
    own = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    own = own.get("input_size") if isinstance(own, dict) else getattr(own, "input_size", None)
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    shapes = [(first.in_channels if first else 3, size, size) for size in SIZES]
    return [tuple(own), *shapes] if own else shapes


def _watch(model: nn.Module, x: tuple) -> _Seen:
    names = {module: name for name, module in model.named_modules()}
    height, width = next((t.shape[2:] for t in x if isinstance(t, Tensor) and t.ndim == 4), (None, None))
    seen = _Seen(defaultdict(list), {}, set(), set(), set())

    # What is to be known of a tensor is written on it: its id might be given to another one.
    def watch(module: nn.Module, args: tuple, output: object) -> None:
        name = names[module]
        is_map = isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point()
        # Of (N, H, W, C), the last two have another ratio than the image.
        is_map = is_map and (height is None or abs(output.shape[2] - output.shape[3] * height / width) <= 2)
        seen.outputs[name].append(output.shape if is_map else _described(output))
        entered = args[0] if args and isinstance(args[0], Tensor) else None
        conv = getattr(entered, "_conv", None)
        if isinstance(module, _BatchNorm) and conv is not None:
            seen.fused[name] = f"is a BatchNorm behind the convolution {conv!r}, and both may be fused into one"
            for other in entered._of:
                seen.fused[other] = f"ends in a convolution before the BatchNorm {name!r}; both may be fused into one"
        if is_map:
            # A module that returns what entered is behind the same operation.
            output._of = [*getattr(output, "_of", []), name]
            if isinstance(module, _ConvNd):
                output._conv = name
            if getattr(output, "_is_sum", False):
                seen.after.add(name)

    class Sums(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result, name = function(*args, **(kwargs or {})), getattr(function, "__name__", "")
            maps = [t for t in args if isinstance(t, Tensor) and t.ndim == 4]
            if name in ADDS and len(maps) == 2 and maps[0].shape == maps[1].shape:
                for tensor in maps:
                    seen.before.update(getattr(tensor, "_of", []))
                result._is_sum, result._of = True, []
            elif name in ACTIVATIONS and maps and getattr(maps[0], "_is_sum", False):
                result._is_sum = True
            elif name.endswith("_") and isinstance(result, Tensor) and maps and result is maps[0]:
                result._of, result._conv = [], None  # changed in place: no layer's output any more
            return result

    parts = {}
    for module in names:
        module.register_forward_hook(watch)
        is_sequence = type(module).forward is nn.Sequential.forward  # runs attention as its last part, and rightly so
        if not is_sequence and not _is_container(module) and not hasattr(module, "attention"):
            parts[names[module]] = module.attention = _Part()
    with torch.no_grad(), Sums():
        model(*x)
    seen.iterates.update(name for name, part in parts.items() if part.was_run)
    return seen


class _Part(nn.Identity):
    """Stands where attention would, to see whether a module runs all its parts, whatever they are."""

    was_run = False

    def forward(self, x: object) -> object:
        self.was_run = True
        return x


def _is_container(module: nn.Module) -> bool:
    has_own_way = isinstance(module, nn.Sequential) and type(module).forward is not nn.Sequential.forward
    return isinstance(module, nn.ModuleList | nn.ModuleDict) or has_own_way


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)} of {str(output.dtype).removeprefix('torch.')}"
    size = f" of {len(output)}" if isinstance(output, list | tuple | dict) else ""
    return f"a {type(output).__name__}{size}"
