"""Which device to run on, and what it can do."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from stanley.errors import StanleyError


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; 'auto' is a GPU where torch sees one, else the CPU.

    Raises StanleyError for a device that is not there or cannot hold numbers.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # it holds numbers, which 'meta' does not
    except (RuntimeError, AssertionError) as error:
        gpus = torch.cuda.device_count()
        there = f"{gpus} CUDA device(s) and the CPU" if gpus else "no CUDA device, only the CPU"
        raise StanleyError(
            f"device {name!r} is not there: torch {torch.__version__} sees {there}; use --device"
            " auto or cpu"
        ) from error
    return device


def fast_in_bf16(device: torch.device) -> bool:
    """Whether the device is known to have units for bfloat16."""
    return has_bf16_units(device) is True


def has_bf16_units(device: torch.device) -> bool | None:
    """Whether the device has units for bfloat16, None where torch does not say. Others emulate it,
    several times slower.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # of late versions of torch
    if device.type != "cpu" or capabilities is None:
        return None
    units = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
    return any(capabilities().get(name, False) for name in units)


def widest_float(device: torch.device) -> torch.dtype:
    """The type for sums that must not be lost in rounding: float64, but float32 on MPS."""
    return torch.float32 if device.type == "mps" else torch.float64


def peak_memory(device: torch.device) -> float | None:
    """The most memory used so far in MiB: by torch's tensors on a GPU, else by this process.

    None on systems that do not count it.
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        # the number of `resource` includes the process that this one was started from
        status = Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10, 1)  # KiB
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / (2**20 if sys.platform == "darwin" else 2**10), 1)  # bytes, else KiB
