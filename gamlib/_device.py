"""Which device training runs on, and what it can do."""

import platform
from pathlib import Path

import torch


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The processor's name as a person knows it; for a CPU, with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"


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
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return torch.cpu._is_avx512_bf16_supported()  # torch 2.6 to 2.8 have no public way to ask
