"""Puts attention into a network that is already there, without changing one of its keys."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gamlib._checks import unknown_name
from gamlib.attention import attention_name, create_attention, full_options, list_attention
from gamlib.models import mobilenetv2, resnet

# A mechanism: its name, or anything that makes a module from a number of channels.
Attention = str | Callable[..., nn.Module]

# torchvision's block -> the same block with attention before the residual add.
TORCHVISION_BLOCKS = {
    resnet.BasicBlock: resnet.AttentionBasicBlock,
    resnet.Bottleneck: resnet.AttentionBottleneck,
    mobilenetv2.InvertedResidual: mobilenetv2.AttentionInvertedResidual,
}
# timm's ResNet blocks have a slot of their own for attention at that place: `se`, None where unused. They are known
# by name, so that timm need not be installed.
TIMM_BLOCKS = ("timm.models.resnet.BasicBlock", "timm.models.resnet.Bottleneck")


class Gentle(nn.Module):
    """x + a * (attention(x) - x), a = 0 at first: the network starts as if nothing had been inserted.

    An extension of the paper. It lets a pretrained network keep what it knows while its new gates are still random.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.strength = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        """Back to a = 0."""
        nn.init.zeros_(self.strength)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.strength * (self.attention(x) - x)


def insert_attention(
    model: nn.Module,
    attention: Attention,
    where: str | Sequence[str] = "block",
    gentle: bool = False,
    **options: object,
) -> nn.Module:
    """Insert attention modules into `model`, in place, and return it. Existing keys stay as they are.

    The width of a named module is that of the last convolution, BatchNorm or GroupNorm defined in it.

    Args:
        model: a network of torchvision's ResNet or MobileNetV2 blocks or timm's ResNet blocks, or any network with a
            list of module names in `where`.
        attention: a name of `list_attention()`, a class, or a callable channels -> nn.Module.
        where: "block": in every block, behind its last BatchNorm and before the residual add. "stage": at the end of
            each stage, which is BAM's place, and must be said here (ResNets: all but the last stage; MobileNetV2: all
            seven). Or a list of names of modules with (N, C, H, W) outputs, each followed by attention.
        gentle: wrap each module as x + a * (module(x) - x), with one learned scalar a = 0.
        options: options of the mechanism, such as reduction=4.

    Raises:
        ValueError: for an unknown name, option or place, a place that has attention already, or a network without
            known blocks; the message then lists modules that `where` could name.
    """
    places = _find_places(model, where)
    for module, channels, _ in places:
        if hasattr(module, "attention") or getattr(module, "se", None) is not None:
            raise ValueError(f"{type(module).__name__} ({channels} channels) has an attention module already")
    # All modules are built before the first is inserted: a bad option leaves the network as it was.
    built = [build_attention(attention, channels, options) for _, channels, _ in places]
    for (module, _, attach), new in zip(places, built, strict=True):
        like = next(module.parameters(), next(model.parameters()))
        new = Gentle(new) if gentle else new
        attach(module, new.to(like.device, like.dtype if like.is_floating_point() else None).train(module.training))
    if hasattr(model, "spec"):
        del model.spec  # create_model's description; it is no longer true
    return model


def build_attention(attention: Attention, channels: int, options: dict[str, object]) -> nn.Module:
    """One module, from a name, a class or a callable."""
    if isinstance(attention, str):
        return create_attention(attention, channels, **options)
    if not callable(attention) or isinstance(attention, nn.Module):
        raise ValueError(
            f"attention must be a name ({', '.join(list_attention())}), a class, or a callable channels -> nn.Module; "
            f"got {attention!r}"
        )
    module = attention(channels, **full_options(attention, options))
    if not isinstance(module, nn.Module):
        raise ValueError(f"attention {attention_name(attention)!r} must make an nn.Module, got {module!r}")
    return module


Place = tuple[nn.Module, int, Callable[[nn.Module, nn.Module], None]]  # where, its channels, how to attach


def _find_places(model: nn.Module, where: str | Sequence[str]) -> list[Place]:
    if where == "block":
        places = [place for module in model.modules() if (place := _block_place(module))]
    elif where == "stage":
        places = _stage_places(model)
    elif isinstance(where, str):
        raise unknown_name("where", where, ["block", "stage", "a list of module names"])
    elif not isinstance(where, Sequence):
        raise ValueError(f"where must be 'block', 'stage' or a list of module names, got {where!r}")
    else:
        modules = dict(model.named_modules())
        for name in where:
            if not name or name not in modules:
                raise unknown_name("module", name, _candidates(model))
            _check_has_one_output(name, modules[name])
        places = [(modules[name], _out_channels(name, modules[name]), _attach_behind) for name in dict.fromkeys(where)]
    if not places:
        raise ValueError(
            f"found no known {where} in {type(model).__name__}; pass where=[...] with names of modules whose output is "
            f"(N, C, H, W), for example from: {', '.join(_candidates(model)[:40])}"
        )
    return places


def _block_place(module: nn.Module) -> Place | None:
    kind, after = type(module), mobilenetv2.AttentionAfterInvertedResidual
    if kind in (*TORCHVISION_BLOCKS, *TORCHVISION_BLOCKS.values(), after):
        return module, _block_channels(module), partial(_attach_as, TORCHVISION_BLOCKS.get(kind, kind))
    if f"{kind.__module__}.{kind.__name__}" in TIMM_BLOCKS:
        return module, _block_channels(module), _attach_in_timm_block
    return None


def _block_channels(block: nn.Module) -> int:
    # Read from the convolutions, which all have: the norms behind them are of many kinds.
    last = block if isinstance(block, mobilenetv2.InvertedResidual) else getattr(block, "conv3", block.conv2)
    return last.out_channels


def _stage_places(model: nn.Module) -> list[Place]:
    if ends := mobilenetv2.stage_ends(model):
        attach = partial(_attach_as, mobilenetv2.AttentionAfterInvertedResidual)
        return [(block, block.out_channels, attach) for block in ends]
    stages = resnet.stages(model)
    blocks = [[place for module in stage.children() if (place := _block_place(module))] for stage in stages]
    if not all(blocks):
        return []
    # The last block's channels are the stage's.
    places = [(stage, known[-1][1], _attach_behind) for stage, known in zip(stages, blocks, strict=True)]
    return places[:-1] or places


def _attach_as(kind: type[nn.Module], block: nn.Module, attention: nn.Module) -> None:
    # The new class differs from the old one in forward alone, so keys, weights and hooks stay.
    block.__class__ = kind
    block.attention = attention


def _attach_in_timm_block(block: nn.Module, attention: nn.Module) -> None:
    block.se = attention


def _attach_behind(module: nn.Module, attention: nn.Module) -> None:
    module.add_module("attention", attention)
    if type(module).forward is not nn.Sequential.forward:  # a Sequential runs its new child by itself
        module.register_forward_hook(_apply_attention)


def _apply_attention(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return module.attention(output)


def _check_has_one_output(name: str, module: nn.Module) -> None:
    iterated = isinstance(module, (nn.ModuleList, nn.ModuleDict))
    # Attention becomes a child, and a Sequential with a forward of its own might run its children once more.
    unsure = isinstance(module, nn.Sequential) and type(module).forward is not nn.Sequential.forward
    if iterated or unsure:
        raise ValueError(
            f"module {name!r} ({type(module).__name__}) is a container that its network runs in its own way; "
            "name a module in it instead"
        )


def _candidates(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if name and type(module) in (nn.BatchNorm2d, nn.Sequential)]


def _out_channels(name: str, module: nn.Module) -> int:
    for layer in reversed(list(module.modules())):
        for attribute in ("out_channels", "num_features", "num_channels"):  # convolutions, BatchNorms, GroupNorm
            if isinstance(channels := getattr(layer, attribute, None), int):
                return channels
    raise ValueError(
        f"module {name!r} ({type(module).__name__}) holds no Conv2d or BatchNorm2d, nor another layer that says "
        "its channels; name one that does, such as the layer in front of it"
    )
