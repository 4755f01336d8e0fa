"""ULMFiT and MultiFiT: AWD-LSTM and QRNN language models and classifiers on PyTorch and fastai.

    from lowres.families.ulmfit import classifier_learner, lm_learner, save_lm

They make fastai Learners for notebooks (learners.py). They are imported when they are first used:
importing this package brings no framework.
"""

from typing import Any

_FACE = ("classifier_learner", "fit_phase", "lm_learner", "phases", "save_classifier", "save_lm")

__all__ = [*_FACE]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        from importlib import import_module

        return getattr(import_module("lowres.families.ulmfit.learners"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
