"""What can be said of a module that the reference's weights do not fit into: layer by layer, then of its numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import Tensor, nn

from gamlib.course.describe import describe, short
from gamlib.course.exercise import Exercise, Trial
from gamlib.course.modules import squeezed
from gamlib.course.values import agree, copied

NO_PARAMETERS = (
    "not yet. It has no parameters: make its layers in __init__, as attributes; layers in a plain list are not found "
    "(nn.ModuleList is)."
)


ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(frozen=True)
class Layer:
    """A layer as far as it matters here. A 1x1 convolution is a Linear."""

    kind: str  # "layer" or "norm"
    weight: Tensor | None  # None: a norm without scale and shift
    bias: Tensor | None


def layers_of(module: nn.Module) -> list[Layer] | None:
    """Its layers, in order; None where a parameter belongs to none that is known here."""
    found = []
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._NormBase):
            found.append(Layer("norm", child.weight, child.bias))
        elif isinstance(child, nn.Linear | nn.modules.conv._ConvNd):
            found.append(Layer("layer", child.weight, child.bias))
        elif any(True for _ in child.parameters(recurse=False)):
            return None
    return found


def layers_asked_for(exercise: Exercise, trial: Trial) -> list[tuple[str, Layer]]:
    """The reference's layers, with a name for each."""
    kinds = exercise.layers.split()
    weights = list(trial.weights)
    found = []
    for i, kind in enumerate(kinds):
        word = {"linear": "Linear", "conv": "convolution", "norm": "BatchNorm"}[kind.partition("+")[0]]
        same = [k for k, other in enumerate(kinds) if other == kind]
        name = word if len(same) == 1 else f"{ORDINALS[same.index(i)]} {word}"
        if kind == "norm":
            gain, shift = weights.pop(0), weights.pop(0)
            found.append((name, Layer("norm", gain, shift)))
        else:
            weight = weights.pop(0)
            found.append((name, Layer("layer", weight, weights.pop(0) if kind.endswith("+bias") else None)))
    return found


def judge(
    exercise: Exercise,
    trials: Sequence[Trial],
    modules: Sequence[nn.Module],
    output: object,
    wanted: Tensor,
    mistaken: Callable[[Sequence[Trial], Sequence[object]], str],
) -> str:
    """What is to be said of modules, one for each trial, into which the weights do not fit.

    Args:
        output, wanted: the module's output in the first trial, and the reference's.
        mistaken: what is to be said of wrong outputs in some trials.
    """
    if not any(True for _ in modules[0].parameters()) and exercise.layers:
        return NO_PARAMETERS
    sizes = [
        ([squeezed(p) for p in m.parameters()], [squeezed(w) for w in t.weights])
        for m, t in zip(modules, trials, strict=True)
    ]
    for mistake in exercise.mistakes:
        if mistake.shapes is not None and all(ours == mistake.shapes(theirs) for ours, theirs in sizes):
            return f"not yet. {mistake.message}"
    known = [layers_of(module) for module in modules]
    if exercise.layers and all(known):
        asked = [layers_asked_for(exercise, trial) for trial in trials]
        if [layer.kind for layer in known[0]] == [layer.kind for _, layer in asked[0]]:
            remarks = differing(trials, known, asked)
            return (
                f"not yet. {' '.join(remarks)} {the_rest(exercise, trials, modules, known, asked, mistaken)}".rstrip()
            )
        return f"not yet. {missing_or_too_many(known[0], asked[0])}{of_the_shape(output, wanted)}"
    return by_its_properties(exercise, trials[0], output, wanted, next(pair for pair in sizes if pair[0] != pair[1]))


def run(module: nn.Module, trial: Trial) -> object:
    """What a module makes of copies of the inputs."""
    return module(*map(copied, trial.inputs))


def differing(
    trials: Sequence[Trial], known: Sequence[list[Layer]], asked: Sequence[list[tuple[str, Layer]]]
) -> list[str]:
    """Sentences on layers that are there, but not as they should be."""
    remarks = []
    for i, (name, layer) in enumerate(asked[0]):
        ours = known[0][i]
        if layer.kind == "norm":
            if ours.weight is None:
                remarks.append(f"The {name} has no scale and shift: leave out affine=False.")
            elif ours.weight.shape != layer.weight.shape:
                remarks.append(f"The {name} has {len(ours.weight)} channels, expected {len(layer.weight)}.")
            continue
        if ours.bias is not None and layer.bias is None:
            remarks.append(f"The {name} has a bias, and should have none: bias=False.")
        if ours.bias is None and layer.bias is not None:
            remarks.append(f"The {name} has no bias, and should have one.")
        if kernel(ours) != kernel(layer):
            remarks.append(f"The {name}'s kernel is {kernel(ours)}, expected {kernel(layer)}.")
    return [*remarks, *sized(trials, known, asked)]


def kernel(layer: Layer) -> str:
    """Height x width."""
    return " x ".join(str(side) for side in layer.weight.shape[2:]) or "1 x 1"


def sized(trials: Sequence[Trial], known: Sequence[list[Layer]], asked: Sequence[list[tuple[str, Layer]]]) -> list[str]:
    """A sentence on the first layer with other numbers of channels, by its rule where that is known."""
    for i, (name, layer) in enumerate(asked[0]):
        for dim, side in ((1, "takes in"), (0, "gives")):
            if layer.kind == "norm":
                continue
            ours = [layers[i].weight.shape[dim] for layers in known]
            theirs = [layers[i][1].weight.shape[dim] for layers in asked]
            if ours == theirs:
                continue
            rule = ""
            if all({"channels", "reduction"} <= trial.construct.keys() for trial in trials):
                pairs = [(trial.construct["channels"], trial.construct["reduction"]) for trial in trials]
                rules = (
                    ("r of them", lambda c, r: r),
                    ("as many as the input has", lambda c, r: c),
                    ("the reduction is applied twice", lambda c, r: c // r // r),
                    ("the reduction multiplies", lambda c, r: c * r),
                    ("one too many", lambda c, r: c // r + 1),
                    *(
                        (f"the reduction is {k} whatever it is called with", lambda c, r, k=k: c // k)
                        for k in (2, 4, 8, 16)
                    ),
                    *((f"at least {k}", lambda c, r, k=k: max(k, c // r)) for k in (2, 3, 4, 8, 16, 32)),
                    *((f"{k} whatever it is called with", lambda c, r, k=k: k) for k in (1, 2, 4, 8, 16, 32, 64)),
                )
                holds = (words for words, function in rules if [function(*pair) for pair in pairs] == ours)
                rule = next((f" ({words})" for words in holds), "")
            called = ", ".join(f"{key}={value}" for key, value in trials[0].construct.items())
            return [f"Called with {called}, its {name} {side} {ours[0]} channels, expected {theirs[0]}{rule}."]
    return []


def missing_or_too_many(ours: list[Layer], asked: list[tuple[str, Layer]]) -> str:
    """A sentence on layers that are lacking, or more than asked for."""
    lacking, surplus = [], []
    matcher = SequenceMatcher(None, [layer.kind for layer in ours], [layer.kind for _, layer in asked], autojunk=False)
    for _, a, b, c, d in matcher.get_opcodes():
        if a == b or c == d or [layer.kind for layer in ours[a:b]] != [layer.kind for _, layer in asked[c:d]]:
            surplus += ["a BatchNorm" if layer.kind == "norm" else "a layer" for layer in ours[a:b]]
            lacking += [f"the {name}" for name, _ in asked[c:d]]
    words = [
        f"{said} {' and '.join(found)}"
        for said, found in (("it lacks", lacking), ("it has too much:", surplus))
        if found
    ]
    order = ", ".join(name for name, _ in asked)
    return f"Its layers are not those asked for ({order}): {'; '.join(words)}."


def of_the_shape(output: object, wanted: Tensor) -> str:
    """A sentence, where the shape is wrong, too."""
    if isinstance(output, Tensor) and output.shape == wanted.shape:
        return ""
    return f" And it returns {describe(output)}, expected {tuple(wanted.shape)}."


def the_rest(exercise, trials, modules, known, asked, mistaken) -> str:
    """Whether all else is right: the reference is given the module's own parameters, whatever their sizes."""
    own = []
    for trial, layers, names in zip(trials, known, asked, strict=True):
        weights = []
        for ours, (_, theirs) in zip(layers, names, strict=True):
            filled = [set_at_random(p, theirs.kind) for p in (ours.weight, ours.bias) if p is not None]
            out = len(filled[0]) if filled else len(theirs.weight)
            if theirs.kind == "norm":
                weights += filled or [torch.ones(out).double(), torch.zeros(out).double()]
                continue
            weights.append(filled[0])
            if theirs.bias is not None:
                weights.append(filled[1] if ours.bias is not None else filled[0].new_zeros(out))
            elif ours.bias is not None:
                ours.bias.data.zero_()
        own.append(Trial(trial.inputs, tuple(weights), trial.construct))
    try:
        wanted = [exercise.reference(*trial.inputs, *trial.weights) for trial in own]
    except (RuntimeError, IndexError, ValueError):
        return ""
    got = [run(module, trial) for module, trial in zip(modules, own, strict=True)]
    if agree(got, wanted):
        return "All else is right."
    return f"And besides: {mistaken(own, got)}"


def set_at_random(p: nn.Parameter, kind: str) -> Tensor:
    """Set a parameter to random numbers, and return them."""
    with torch.no_grad():
        p.copy_(
            torch.randn(p.shape, dtype=p.dtype) / max(1, math.prod(p.shape[1:])) ** 0.5
            + (0.5 if kind == "norm" else 0.0)
        )
    return p.detach().clone()


def by_its_properties(exercise: Exercise, trial: Trial, output: object, wanted: Tensor, shapes: tuple) -> str:
    """What can be said without the weights."""
    ours, expected = shapes
    surplus, lacking = surplus_of(ours, expected), surplus_of(expected, ours)
    told = "; ".join(
        f"{words} {short(', '.join(str(shape or [1]) for shape in found), 100)}"
        for words, found in (("it has", surplus), ("it lacks", lacking))
        if found
    )
    told = f"its parameters are not the reference's (ones left out of shapes, {told}), so it could be judged"
    if not isinstance(output, Tensor) or output.shape != wanted.shape:
        returned = f"It returns {describe(output)}, expected {tuple(wanted.shape)}"
        return f"not yet. {returned}. And {told} by its shape alone."
    if exercise.gives == "other":
        return f"perhaps right, perhaps not: {told} by its shape alone, which is right."
    gate = output if exercise.gives == "gate" else output / trial.inputs[0]
    if not bool(torch.all((gate >= 0) & (gate <= 1))):
        missed = "A gate should stay in [0, 1]" if exercise.gives == "gate" else "It is not the input times a gate"
        return f"not yet. {missed}. And {told} by its properties alone."
    return f"perhaps right, perhaps not: {told} by its properties alone. Those are fine."


def surplus_of(shapes: list[list[int]], others: list[list[int]]) -> list[list[int]]:
    """The shapes for which `others` has no match."""
    left = list(others)
    return [shape for shape in shapes if shape not in left or left.remove(shape)]
