"""Networks as they are inside the wrappers that PyTorch puts around one, or around a part of one."""

from torch import Tensor, nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, DataParallel and DistributedDataParallel, in any nesting; others as they are.

    Only wrappers around the whole are taken off; a part of the network may still have its own.
    """
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while "_orig_mod" in model._modules or isinstance(model, parallel):  # torch.compile's class is private
        (model,) = model.children()
    return model


def on_its_device(model: nn.Module, *tensors: Tensor | None) -> list[Tensor | None]:
    """The tensors where the network's parameters are; as they are where it has none. After `fit` that is the GPU."""
    device = next((p.device for p in model.parameters()), None)
    return [t.to(device) if isinstance(t, Tensor) and device is not None else t for t in tensors]


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> module, the network itself under "", with the names that they have where nothing is wrapped."""
    model = unwrapped(model)
    names = {model: ""}
    for child_name, child in model.named_children():
        for name, module in named_modules(child).items():
            names.setdefault(module, f"{child_name}.{name}".rstrip("."))  # a shared one goes by its first name
    return {name: module for module, name in names.items()}
