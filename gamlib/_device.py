"""Which device training runs on, and what it can do."""

import platform
import sys
from pathlib import Path

import torch

# By name, whether it is here. MPS is Apple's GPU, XPU is Intel's.
DEVICES = {
    "cpu": lambda: True,
    "cuda": lambda: torch.cuda.is_available(),
    "mps": lambda: torch.backends.mps.is_available(),
    "xpu": lambda: torch.xpu.is_available(),
}


def device_of(name: str) -> torch.device:
    """The device by name; "auto" is an NVIDIA GPU where there is one, else the CPU.

    Raises:
        ValueError: where this machine, or this PyTorch, has none such.
    """
    if name == "auto":
        name = "cuda" if DEVICES["cuda"]() else "cpu"
    if not DEVICES[name]():
        here = ", ".join(other for other, is_here in DEVICES.items() if is_here())
        raise ValueError(f"device {name!r} is not here, or this PyTorch was built without it; here: {here}")
    return torch.device(name)


def counting_dtype(device: torch.device) -> torch.dtype:
    """What counts and sums are kept in: float64, but float32 where there is none. Whole numbers are exact to 2^24."""
    return torch.float32 if device.type in ("mps", "xpu") else torch.float64


def device_name(device: torch.device) -> str:
    """The processor's name as a person knows it; for a CPU, with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads" if device.type == "cpu" else f"{device.type} of {name}"


def has_kernels(device: torch.device) -> bool:
    """Whether PyTorch was built for this GPU: for its generation and none newer, or with code that it can compile."""
    own = torch.cuda.get_device_capability(device)
    for kind, number in (name.rstrip("af").split("_") for name in torch.cuda.get_arch_list()):
        major, minor = int(number[:-1]), int(number[-1])
        if (kind == "sm" and major == own[0] and minor <= own[1]) or (kind == "compute" and (major, minor) <= own):
            return True
    return False


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself. Where it is emulated, it would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False  # nobody has tried
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return torch.cpu._is_avx512_bf16_supported()  # torch 2.6 to 2.8 have no public way to ask


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` begin anew, where it can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: torch.device) -> int | None:
    """Most bytes in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
