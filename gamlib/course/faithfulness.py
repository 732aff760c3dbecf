"""Tests a map: does the network's answer depend on the places that the map points at?"""

import copy

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from gamlib._checks import check_integer, check_seed
from gamlib._modules import named_modules, on_its_device, unwrapped
from gamlib.explain.gradcam import check_eval, check_labels


def gate_map(gate: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n H W"]:
    """A gate as a map of the picture: its mean over the channels, brought to `size` (bilinear).

    Raises:
        ValueError: for a gate that is not (N, C, h, w), or says nothing of places: (N, C, 1, 1).
    """
    if gate.ndim != 4 or gate.shape[2] * gate.shape[3] == 1:
        raise ValueError(f"a map needs a gate (N, C, h, w) that differs from place to place, got {tuple(gate.shape)}")
    return F.interpolate(gate.mean(1, keepdim=True), size, mode="bilinear", align_corners=False)[:, 0]


def deletion(
    model: nn.Module,
    x: Float[Tensor, "n 3 h w"],
    maps: Float[Tensor, "n h w"],
    labels: Int64[Tensor, " n"],
    steps: int = 16,
    seed: int = 0,
) -> Float[Tensor, "n steps+1"]:
    """The label's probability while the picture loses its pixels, those first to which the map gives most.

    Petsiuk, Das, Saenko: "RISE" (BMVC 2018). A faithful map makes it fall soon. A lost pixel takes the picture's own
    mean colour; that is not nothing, it is a picture the network has never seen, so compare maps with each other and
    with `random_maps`, never with 0.

    Args:
        model: (N, 3, H, W) -> logits (N, K), in eval.
        x: a batch as the network takes it.
        maps: one number for each pixel; only their order counts. Equal ones are taken in random order.
        labels: the class to watch, for each picture.
        steps: in how many equal parts the pixels go.
        seed: decides the order of equal ones.

    Returns:
        (N, steps + 1): column i after i / steps of the pixels. The first is the picture's, the last of no pixel at all.

    Raises:
        ValueError: for a network in training, maps or labels of another shape, or maps that hold NaN.
    """
    return _follow(model, x, _empty(x), maps, labels, steps, seed)


def insertion(
    model: nn.Module,
    x: Float[Tensor, "n 3 h w"],
    maps: Float[Tensor, "n h w"],
    labels: Int64[Tensor, " n"],
    steps: int = 16,
    seed: int = 0,
) -> Float[Tensor, "n steps+1"]:
    """The label's probability while an empty picture gets its pixels, those first to which the map gives most.

    The reverse of `deletion`, with the same arguments; a faithful map makes it rise soon.
    """
    return _follow(model, _empty(x), x, maps, labels, steps, seed)


def area(curves: Float[Tensor, "n steps"]) -> Float[Tensor, " n"]:
    """Area under each curve, its length taken as 1 (trapezoidal rule): the mean probability on the way.

    Raises:
        ValueError: for curves that are not (N, 2 or more values).
    """
    if curves.ndim != 2 or curves.shape[1] < 2:
        raise ValueError(f"curves must be (N, 2 or more values), got {tuple(curves.shape)}")
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)


def random_maps(maps: Float[Tensor, "n h w"], seed: int = 0) -> Float[Tensor, "n h w"]:
    """A control: the cells of each map, in random order."""
    return maps.flatten(1).gather(1, _random_order(maps, seed)).view(maps.shape)


def shuffled_maps(maps: Float[Tensor, "n h w"], seed: int = 0) -> Float[Tensor, "n h w"]:
    """A control: each picture gets another picture's map, as smooth and as central as its own.

    Raises:
        ValueError: for fewer than two maps.
    """
    n = len(maps)
    if n < 2:
        raise ValueError(f"it takes two maps or more to exchange them, got {n}")
    order = torch.randperm(n, generator=_generator(seed))
    others = torch.empty_like(order)
    others[order] = order.roll(1)  # one great circle: none keeps its own
    return maps[others.to(maps.device)]


@torch.inference_mode(False)  # weights that can be trained, and asked for gradients, wherever it is called
def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of `model`, in eval, that has learnt nothing: all weights drawn anew by PyTorch's own initialisation,
    BatchNorm's statistics reset.

    A map that looks the same for it says something of the picture, not of what was learnt (Adebayo et al.: "Sanity
    checks for saliency maps", NeurIPS 2018).

    Raises:
        ValueError: for a network with parameters in modules that have no `reset_parameters`, as ConvNeXt, Swin and ViT
            have. Build such a network once more, without trained weights.
    """
    check_seed(seed)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model = copy.deepcopy(unwrapped(model)).eval().cpu()  # drawn on the CPU: the same on every machine
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for name, module in named_modules(model).items():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            elif list(module.parameters(recurse=False)):
                raise ValueError(
                    f"can't draw the weights of {name or 'the network'} ({type(module).__name__}) anew: it has no "
                    "reset_parameters(). Build the network once more, without trained weights, and take that one"
                )
    return model.to(device)


def rank_correlation(a: Float[Tensor, "n h w"], b: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Spearman's, between the two maps of each picture: 1 where they order the pixels alike, 0 where one does not help
    with the other, NaN where one of them is the same everywhere.

    Raises:
        ValueError: for maps of different shapes.
    """
    from scipy import stats  # a second of import, and of no use elsewhere here

    if a.shape != b.shape or len(a) == 0:
        raise ValueError(f"the maps must have one shape, N 1 or more, got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.isnan().any() or b.isnan().any():
        raise ValueError("maps hold NaN, which has no place in an order")
    centred = []
    for maps in (a, b):
        ranks = torch.from_numpy(stats.rankdata(maps.detach().flatten(1).cpu().numpy(), axis=1)).to(maps.device)
        centred.append(ranks - ranks.mean(1, keepdim=True))
    first, second = centred
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))


def _empty(x: Tensor) -> Tensor:
    """Each picture's own mean colour."""
    if x.ndim != 4 or len(x) == 0 or not x.is_floating_point():
        raise ValueError(f"x must be floats (N, 3, H, W) with N 1 or more, got {x.dtype} {tuple(x.shape)}")
    return x.mean((2, 3), keepdim=True).expand_as(x)


def _follow(
    model: nn.Module, before: Tensor, after: Tensor, maps: Tensor, labels: Tensor, steps: int, seed: int
) -> Tensor:
    n, _, h, w = before.shape
    check_integer("steps", steps)
    check_eval(model)
    before, after, maps, labels = on_its_device(model, before, after, maps, labels)
    if maps.shape != (n, h, w):
        raise ValueError(f"for pictures {tuple(before.shape)}, maps must be {(n, h, w)}; got {tuple(maps.shape)}")
    if maps.isnan().any():
        raise ValueError("maps hold NaN, which has no place in an order")
    # A random order first, then a stable sort by the map: equal ones stay in random order.
    chance = _random_order(maps, seed)
    by_map = maps.flatten(1).gather(1, chance).argsort(dim=1, descending=True, stable=True)
    place = chance.gather(1, by_map).argsort(1).view(n, 1, h, w)  # each pixel's place in the order
    curve = []
    with torch.no_grad():
        for step in range(steps + 1):
            mixed = torch.where(place < h * w * step / steps, after, before)
            logits = model(mixed)
            check_labels(labels, logits)
            curve.append(logits.softmax(1).gather(1, labels[:, None]))
    return torch.cat(curve, 1)


def _random_order(maps: Tensor, seed: int) -> Tensor:
    """(N, H * W): for each map, its cells in random order."""
    cells = maps.shape[1] * maps.shape[2]
    return torch.rand(len(maps), cells, generator=_generator(seed)).argsort(1).to(maps.device)


def _generator(seed: int) -> torch.Generator:
    check_seed(seed)
    return torch.Generator().manual_seed(seed)
