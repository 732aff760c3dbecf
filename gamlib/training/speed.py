"""What makes training faster and changes nothing but the rounding: one switch for each."""

from dataclasses import dataclass

import torch

from gamlib._checks import check_boolean, unknown_name
from gamlib._device import DEVICES, has_bf16

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICE_NAMES = ("auto", *DEVICES)


@dataclass(frozen=True)
class Speed:
    """Switches. A test trains with each of them on and off, and compares the loss curves."""

    # Of convolutions and matrix products: "fp32" (on GPUs from Ampere on, PyTorch rounds what enters a convolution to
    # TF32, 11 bits, by default), "bf16", "fp16" (GPU: with a loss scaler).
    precision: str = "auto"
    channels_last: bool = True  # the memory layout that convolutions are fastest in; GAM's MLP needs no copy in it
    fused: bool = True  # one kernel for the whole update, which can also leave it out without asking the host
    compile: bool = False  # torch.compile: a minute at the start, then faster steps on a GPU
    graph: bool = False  # CUDA graph: for small networks, whose kernels are done before the host has started the next
    device: str = "auto"  # "cuda", "cpu", "mps", "xpu"; auto: an NVIDIA GPU where there is one, else the CPU

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if self.device not in DEVICE_NAMES:
            raise unknown_name("device", self.device, DEVICE_NAMES)
        for name, value in self.switches().items():
            check_boolean(name, value)
        if self.graph and (self.compile or not self.fused):
            raise ValueError("graph=True needs fused=True and compile=False")

    def switches(self) -> dict[str, bool]:
        """All but the device, and the precision, which depends on it."""
        usual = {"channels_last": self.channels_last, "fused": self.fused, "compile": self.compile}
        return usual | ({"graph": self.graph} if self.graph is not False else {})  # the first records do not name it

    def resolve(self, device: torch.device) -> str:
        """The precision on this device. "auto": bf16 where the hardware has it; else fp16 on GPUs with tensor cores."""
        if self.precision != "auto":
            return self.precision
        if has_bf16(device):
            return "bf16"
        has_fp16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)
        return "fp16" if has_fp16 else "fp32"
