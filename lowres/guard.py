"""A torchvision built for another torch must not break what does not need it."""

import sys
from importlib import import_module


def guard_torchvision() -> bool:
    """Call before importing transformers or peft. Returns whether torchvision is of use.

    fastai requires torchvision, and where it was built for another torch, `import torchvision` raises RuntimeError
    (operator torchvision::nms does not exist); transformers then fails with misleading errors. The half-loaded modules
    are removed and torchvision is marked as absent, which transformers and peft respect.
    """
    try:
        import_module("torchvision")
    except ImportError:
        return False
    except Exception:  # noqa: BLE001 - a broken binary may raise anything
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        return False
    return True
