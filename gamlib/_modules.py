"""The network inside the wrappers that PyTorch puts around one."""

from torch import nn

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, DataParallel and DistributedDataParallel, in any nesting; others as they are.

    Only wrappers around the whole are taken off; a part of the network may still have its own.
    """
    while True:
        if "_orig_mod" in model._modules:  # torch.compile's OptimizedModule, whose class is private
            model = model._orig_mod
        elif isinstance(model, PARALLEL):
            model = model.module
        else:
            return model
