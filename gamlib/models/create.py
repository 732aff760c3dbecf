"""Builds a network by name: torchvision first, attention afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gamlib._checks import check_integer, unknown_name
from gamlib.attention import attention_name, full_options, is_known, list_attention, place_of

# Each network's stems; the first is its own.
STEMS = {
    "resnet18": ("imagenet", "cifar", "wmp"),
    "resnet50": ("imagenet", "cifar", "wmp"),
    "mobilenet_v2": ("imagenet",),
    "resnet20": ("cifar",),
    "probe": ("puzzles",),
}
# ABN splits a ResNet before its last stage, so it needs two.
ABN_BACKBONES = ("resnet18", "resnet50", "resnet20")
# A width is the channels of the first stage. MobileNetV2's is torchvision's multiplier, in steps of a hundredth.
WIDTH_STEP = {"mobilenet_v2": 0.01}


def list_models() -> list[str]:
    """Names of the networks that `create_model` builds."""
    return list(STEMS)


def fitting_stem(name: str, image_shape: tuple[int, int, int]) -> str:
    """The stem for images (3, H, W): "cifar" where the network has one and they are 64 pixels or less, else its own."""
    return "cifar" if "cifar" in STEMS[name] and max(image_shape[1:]) <= 64 else STEMS[name][0]


def nth_width(name: str, n: int) -> float:
    """The `n`-th width of a network, from the narrowest: n channels, or n hundredths of MobileNetV2's own."""
    return round(n * WIDTH_STEP[name], 2) if name in WIDTH_STEP else n


def create_model(
    name: str,
    attention: str | Callable[..., nn.Module] | None = None,
    attention_options: dict[str, object] | None = None,
    num_classes: int = 1000,
    stem: str | None = None,
    weights: str | Path | None = None,
    width: float | None = None,
) -> nn.Module:
    """Build a network, with attention where the paper has it.

    The backbone is built first, so one seed gives the same backbone for every attention. Keys are torchvision's own;
    attention adds keys with `.attention.` in them. SE, CBAM, TAM, GAM and a reader's own stand in every block, behind
    its last BatchNorm and before the residual add; BAM at the ends of the stages, but in the probe as the others do.
    "abn" is a network of its own.

    Args:
        name: "resnet18", "resnet50", "mobilenet_v2" (the paper's), "resnet20", "probe" (laptop size).
        attention: None or "none", a name of `list_attention()`, "abn", a class, or a callable channels -> nn.Module;
            or a control in an attention's place: "gam_added" (GAM's layers, added), "scaled" (a constant).
        attention_options: options of the mechanism, such as {"reduction": 4}.
        num_classes: K, 1 or more.
        stem: "imagenet", "cifar" or "wmp" for the ResNets of the paper; None is the network's own.
        weights: for the whole network, built with the same arguments: the name of a data set of the zoo ("cifar100",
            "puzzles-joint" ...), for the trained network that ships with gamlib; or the path of a .safetensors file, or
            of one that torch.save wrote: the official ones of SE, CBAM, BAM, TAM and ABN are known by their keys.
            For the backbone, before attention is inserted: the name of torchvision weights such as "IMAGENET1K_V1".
        width: channels of the first stage (of their own the ResNets of the paper have 64, "resnet20" 16, "probe" 32);
            the later stages follow. For "mobilenet_v2" torchvision's width multiplier (its own: 1.0).

    Returns:
        A network (N, 3, H, W) -> logits (N, K); "abn" in training -> (logits, attention_logits). Its attribute `spec`
        holds these arguments, the mechanism's defaults among them.

    Raises:
        ValueError: for an unknown name, option or stem, or weights that do not fit.
    """
    if name not in STEMS:
        raise unknown_name("model", name, STEMS)
    attention = None if attention == "none" else attention
    if isinstance(attention, str) and attention != "abn" and not is_known(attention):
        raise unknown_name("attention", attention, ["none", *list_attention(), "abn"])
    options = attention_options or {}
    if attention in (None, "abn") and options:
        raise ValueError(f"attention {attention or 'none'!r} has no options, got {options}")
    has_options = attention != "abn" and (isinstance(attention, str) or callable(attention))
    full = full_options(attention, options) if has_options else {}
    if attention == "abn" and name not in ABN_BACKBONES:
        raise ValueError(f"attention 'abn' is not defined for {name!r}; allowed models: {', '.join(ABN_BACKBONES)}")
    check_integer("num_classes", num_classes)
    stem = STEMS[name][0] if stem is None else stem
    if stem not in STEMS[name]:
        raise ValueError(f"stem {stem!r} is not defined for {name!r}; allowed: {', '.join(STEMS[name])}")

    if width is not None:
        if name not in WIDTH_STEP:
            check_integer("width", width)
        elif isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < 100:
            raise ValueError(f"width of {name!r} must be a multiplier above 0 and below 100, got {width!r}")

    # torchvision comes in here, not with `import gamlib`. On the CPU: a caller may be under torch.device("meta"), and
    # there its import fails with torch 2.6.
    with torch.device("cpu"):
        from gamlib.models.insert import insert_attention
        from gamlib.models.weights import FILES, is_in_zoo, load_file, load_torchvision, zoo_path

    from_zoo = isinstance(weights, str) and is_in_zoo(weights)
    from_torchvision = weights is not None and not from_zoo and not str(weights).endswith(FILES)
    model = _build_backbone(name, num_classes, stem, width)
    if from_torchvision:
        load_torchvision(model, name, str(weights))
    if attention == "abn":
        from gamlib.models.abn import ABN

        model = ABN(model, num_classes)
    elif attention is not None:
        # The probe compares mechanisms, so there all have the same places.
        insert_attention(model, attention, "block" if name == "probe" else place_of(attention), **options)
    model.spec = {
        "name": name,
        "attention": "none" if attention is None else attention_name(attention),
        "attention_options": full,
        "num_classes": num_classes,
        "stem": stem,
        **({} if width is None else {"width": width}),
    }
    if weights is not None and not from_torchvision:
        load_file(model, zoo_path(weights, model.spec) if from_zoo else Path(weights))
    return model


def _build_backbone(name: str, num_classes: int, stem: str, width: float | None) -> nn.Module:
    from gamlib.models import mobilenetv2, resnet

    if name == "mobilenet_v2":
        return mobilenetv2.mobilenet_v2(num_classes=num_classes, width_mult=1.0 if width is None else width)
    if name in ("resnet20", "probe"):
        return getattr(resnet, name)(num_classes, *([] if width is None else [width]))
    model = getattr(resnet, name)(num_classes=num_classes)
    if width is not None:
        resnet.set_width(model, width)
    resnet.set_stem(model, stem)
    return model
