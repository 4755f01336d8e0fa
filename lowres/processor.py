"""What this machine's processor calls itself, what it can do, and how much of it this process may use."""

import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def _cpuinfo(key: str) -> str:
    """The value of a key in /proc/cpuinfo, "" elsewhere than on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def maker() -> str:
    """The maker's id, e.g. AuthenticAMD; elsewhere than on Linux a text that may hold it."""
    return _cpuinfo("vendor_id") or platform.processor()


def model() -> str:
    """The name of the processor, or else of its kind."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def flags() -> frozenset[str]:
    """What it can do, in Linux's words; none elsewhere."""
    return frozenset(_cpuinfo("flags").split())


def digest() -> str:
    """12 hexadecimal digits, the same for machines that run the same machine code."""
    told = " ".join([platform.machine(), model(), *sorted(flags())])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def cores() -> int:
    """Cores that this process may use."""
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
