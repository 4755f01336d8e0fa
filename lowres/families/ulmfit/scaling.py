"""Training with float16 products on any device: the loss is scaled up, so that small gradients do not become zero."""

from typing import Any

import torch
from fastai.callback.core import (
    Callback,
    CancelStepException,  # pyright: ignore[reportAttributeAccessIssue]
)
from fastai.callback.fp16 import MixedPrecision
from torch.nn.utils import get_total_norm

_FIRST, _STEPS_TO_DOUBLE = 2.0**16, 2000
_LARGEST = 2.0**24


class LossScale(Callback):
    """Dynamic loss scaling (Micikevicius et al. 2018), for any device; fastai's own is for CUDA alone.

    A step whose gradient is not finite is left out and halves the scale; 2,000 good ones in a row double it.
    """

    order = MixedPrecision.order
    learn: Any

    def __init__(self) -> None:
        self.scale, self.good_steps = _FIRST, 0

    def before_backward(self):
        """Scales the loss that the gradient is of; the one that is shown stays."""
        self.learn.loss_grad = self.learn.loss_grad * self.scale

    def before_step(self):
        """Scales the gradient back, before it is clipped."""
        grads = [parameter.grad for parameter, *_ in self.learn.opt.all_params(with_grad=True)]
        for grad in grads:
            grad.div_(self.scale)
        if torch.isfinite(get_total_norm(grads)):
            self.good_steps += 1
            if self.good_steps == _STEPS_TO_DOUBLE:
                self.scale, self.good_steps = min(2 * self.scale, _LARGEST), 0
            return
        self.scale, self.good_steps = max(self.scale / 2, 1.0), 0
        raise CancelStepException
