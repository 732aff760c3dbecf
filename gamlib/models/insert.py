"""Puts attention into a network that is already there, without changing one of its keys."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gamlib._checks import unknown_name
from gamlib._modules import unwrapped
from gamlib.attention import attention_name, create_attention, full_options, list_attention
from gamlib.models import mobilenetv2, resnet
from gamlib.models.places import Place, attached, channels_of, observe

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
    where: str | Sequence[str | Place] | Mapping[str, int] = "block",
    gentle: bool = False,
    x: Tensor | tuple | None = None,
    **options: object,
) -> nn.Module:
    """Insert attention modules into `model`, in place, and return it. Existing keys stay as they are.

    `remove_attention` takes them out again.

    Args:
        model: a network of torchvision's ResNet or MobileNetV2 blocks or timm's ResNet blocks, or any network with
            `where` naming its modules.
        attention: a name of `list_attention()`, a class, or a callable channels -> nn.Module.
        where: "block": in every block, behind its last BatchNorm and before the residual add. "stage": at the end of
            each stage, which is BAM's place, and must be said here (ResNets: all but the last stage; MobileNetV2: all
            seven). Or modules with (N, C, H, W) outputs, each followed by attention: a list of names, of which one
            forward pass of a copy shows the widths; what `attention_places` returns, or a part of it; or a dictionary
            name -> channels, which is believed.
        gentle: wrap each module as x + a * (module(x) - x), with one learned scalar a = 0.
        x: an example input for that pass, or a tuple of several (see `attention_places`).
        options: options of the mechanism, such as reduction=4.

    Raises:
        ValueError: for an unknown name, option or place, a place that has attention already or can't have it, or a
            network without known blocks; nothing has been changed then.
    """
    places = _find_places(model, where, x)
    for module, channels, attach in places:
        has_own = attach is _attach_in_timm_block and module.se is not None
        if has_own or attached(module) is not None or hasattr(module, "attention"):
            raise ValueError(f"{type(module).__name__} ({channels} channels) has an attention module already")
    # All modules are built before the first is inserted: a bad option leaves the network as it was.
    built = [build_attention(attention, channels, options) for _, channels, _ in places]
    for (module, _, attach), new in zip(places, built, strict=True):
        like = next((p for p in (*module.parameters(), *model.parameters()) if p.is_floating_point()), torch.empty(0))
        new = (Gentle(new) if gentle else new).to(like.device, like.dtype).train(module.training)
        new.is_inserted = True
        attach(module, new)
    _forget_spec(model)
    return model


def remove_attention(model: nn.Module) -> nn.Module:
    """Take all inserted attention out of `model`, in place, and return it: keys and outputs are the network's own.

    Args:
        model: what `insert_attention` or `create_model` put attention into.

    Raises:
        ValueError: where there is none.
    """
    homes = [module for module in model.modules() if attached(module) is not None]
    if not homes:
        raise ValueError(f"{type(model).__name__} has no attention that could be removed")
    plain = {theirs: own for own, theirs in TORCHVISION_BLOCKS.items()}
    plain[mobilenetv2.AttentionAfterInvertedResidual] = mobilenetv2.InvertedResidual
    for module in homes:
        if module._modules.get("attention") is attached(module):
            del module.attention
        else:
            del module.se
            module.se = None  # timm's slot
        module.__class__ = plain.get(type(module), type(module))
        for key in [key for key, hook in module._forward_hooks.items() if hook is _apply_attention]:
            del module._forward_hooks[key]
    _forget_spec(model)
    return model


def _forget_spec(model: nn.Module) -> None:
    if hasattr(model, "spec"):
        del model.spec  # create_model's description; it is no longer true


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


Home = tuple[nn.Module, int, Callable[[nn.Module, nn.Module], None]]  # where, its channels, how to attach


def _find_places(model: nn.Module, where: object, x: Tensor | tuple | None) -> list[Home]:
    if where == "block":
        places = [place for module in model.modules() if (place := _block_place(module))]
    elif where == "stage":
        places = _stage_places(model)
    elif isinstance(where, str):
        raise unknown_name("where", where, ["block", "stage", "a list of module names"])
    elif isinstance(where, Mapping):
        places = _behind(model, where)
    elif isinstance(where, Sequence):
        names = dict.fromkeys(getattr(place, "name", place) for place in where)
        places = _behind(model, channels_of(list(names), observe(model, x)))
    else:
        raise ValueError(f"where must be 'block', 'stage', module names or places, got {where!r}")
    if not places:
        raise ValueError(
            f"found no known {where} in {type(model).__name__}; pass where=[...] with names of modules whose output is "
            "(N, C, H, W): gamlib.attention_places(model) lists them"
        )
    return places


def _behind(model: nn.Module, channels: Mapping[str, int]) -> list[Home]:
    modules = dict(unwrapped(model).named_modules(remove_duplicate=False))
    for name in channels:
        if name not in modules:
            raise unknown_name("module", name, list(modules))
    return [(modules[name], width, _attach_behind) for name, width in channels.items()]


def _block_place(module: nn.Module) -> Home | None:
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


def _stage_places(model: nn.Module) -> list[Home]:
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
