"""fastai Learners for language models and classifiers, and how they are fitted phase by phase."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.schedule import ParamScheduler, SchedLin, combine_scheds
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import Optimizer
from fastai.text.learner import LMLearner, TextLearner
from fastai.text.models.awdlstm import awd_lstm_clas_split, awd_lstm_lm_split
from fastai.text.models.core import SequentialRNN
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.adamw import adamw

from lowres.families.ulmfit.data import ClassifierBatches, LmBatches
from lowres.families.ulmfit.models import MixedSequential, TiedCrossEntropy
from lowres.families.ulmfit.resume import Journal
from lowres.families.ulmfit.scaling import LossScale
from lowres.families.ulmfit.spec import ClassifierSettings, Optimisation

_STLR_CUT, _STLR_RATIO = 0.1, 32  # Howard and Ruder 2018


@dataclass(frozen=True)
class Phase:
    """One fit. freeze_to: parameter groups before it are frozen, as in fastai; rates: one a group, lowest first.

    alone: the groups behind it are frozen too.
    """

    freeze_to: int
    epochs: int
    rates: tuple[float, ...]
    schedule: str = "one-cycle"
    alone: bool = False


def layer_rates(highest: float, factor: float, groups: int) -> tuple[float, ...]:
    """A rate for each group, each `factor` times the one before, the last the highest."""
    return tuple(highest / factor ** (groups - 1 - k) for k in range(groups))


def enough_epochs(epochs: int, steps_per_epoch: int, min_steps: int) -> int:
    """`epochs`, or as many as make `min_steps` steps."""
    return max(epochs, -(-min_steps // steps_per_epoch))


@torch.no_grad()
def _fused_adam_step(p, lr, mom, sqr_mom, eps, wd, do_wd=True, grad_avg=None, sqr_avg=None, step=None, **_):
    """Adam as fastai computes it, weight decay decoupled, through torch's fused kernel, a sixth of the loop's time."""
    if grad_avg is None or sqr_avg is None or step is None:
        grad_avg, sqr_avg, step = torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device)
    adamw(
        [p], [p.grad], [grad_avg], [sqr_avg], [], [step],
        fused=True, amsgrad=False, maximize=False, beta1=mom, beta2=sqr_mom, lr=lr, eps=eps, weight_decay=wd * do_wd,
    )  # fmt: skip
    return {"grad_avg": grad_avg, "sqr_avg": sqr_avg, "step": step}


class _LeanOptimizer(Optimizer):
    """fastai's Optimizer that gives the gradients' memory back where fastai fills it with zeros."""

    def zero_grad(self):
        for parameter, *_ in self.all_params(with_grad=True):
            parameter.grad = None


def fused_adam(params: Any, lr: float, mom: float = 0.9, sqr_mom: float = 0.99, eps: float = 1e-5, wd: float = 0.01):
    """The Adam of fastai (the same defaults and update) with one fused step a parameter."""
    return _LeanOptimizer(params, [_fused_adam_step], lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)


def lm_learner(model: MixedSequential, train: LmBatches, valid: LmBatches, spec: Optimisation) -> LMLearner:
    """A Learner for a language model with a HiddenDecoder: AR and TAR, clipping, no output of its own."""
    return LMLearner(
        _loaders(train, valid),
        model,
        loss_func=TiedCrossEntropy(model.decoder, spec.label_smoothing),
        opt_func=fused_adam,
        lr=spec.lr,
        splitter=awd_lstm_lm_split,
        alpha=spec.alpha,
        beta=spec.beta,
        moms=spec.moms,
        wd=spec.weight_decay,
        default_cbs=False,
        cbs=_callbacks(spec.clip, model.products),
    )


def classifier_learner(
    model: SequentialRNN, train: ClassifierBatches, dev: ClassifierBatches, spec: ClassifierSettings, loss: nn.Module
) -> TextLearner:
    """A Learner for a classifier. loss: of its scores and the batches' targets."""
    return TextLearner(
        _loaders(train, dev),
        model,
        loss_func=loss,
        opt_func=fused_adam,
        lr=spec.lr,
        splitter=awd_lstm_clas_split,
        moms=spec.moms,
        wd=spec.weight_decay,
        default_cbs=False,
        cbs=_callbacks(spec.clip, model[0].products),
    )


class ClipNorm(Callback):
    """fastai's GradientClip, which keeps the norm that it computes: `norm`, None where the step was left out."""

    order = GradientClip.order
    learn: Any

    def __init__(self, most: float):
        self.most, self.norm = most, None

    def before_batch(self):
        """Forgets that of the step before."""
        self.norm = None

    def before_step(self):
        """Scales the gradient down to the largest norm where it is over."""
        self.norm = clip_grad_norm_(self.learn.model.parameters(), self.most)


def _callbacks(clip: float, products: Any) -> list[Callback]:
    scaling = [LossScale()] if products == torch.float16 else []
    return [TrainEvalCallback(), *scaling, ClipNorm(clip)]


def _loaders(train: Any, valid: Any) -> DataLoaders:
    loaders = DataLoaders(train, valid, path=Path())
    loaders._device = train.device  # the property's setter would call `to` on loaders that need none
    return loaders


def fit_phases(learn: Learner, phases: Sequence[Phase], journal: Journal) -> None:
    """Runs the phases, from the journal's last checkpoint where there is one.

    Raises Stopped (after saving) or NotFinite.
    """
    learn.create_opt()
    learn.add_cb(journal)
    journal.restore()
    for phase in phases[journal.place.phase :]:
        journal.begin_phase(last=phase is phases[-1])
        fit_phase(learn, phase)
        journal.end_phase()


def fit_phase(learn: Learner, phase: Phase) -> None:
    """Freezes what the phase freezes, and fits by its schedule."""
    learn.freeze_to(phase.freeze_to)
    if phase.alone:
        _freeze_behind(learn.opt, phase.freeze_to)
    if phase.schedule == "one-cycle":
        learn.fit_one_cycle(phase.epochs, lr_max=list(phase.rates))
    else:
        learn.fit(phase.epochs, lr=list(phase.rates), cbs=ParamScheduler({"lr": _slanted_triangular(phase.rates)}))


def _freeze_behind(opt: Any, group: int) -> None:
    """Freezes the groups behind one, told from the end; batch normalisation stays trainable, as fastai leaves it."""
    for parameters in opt.param_lists[len(opt.param_lists) + group + 1 :]:
        for parameter in parameters:
            parameter.requires_grad_(opt.state[parameter].get("force_train", False))


def _slanted_triangular(rates: Sequence[float]) -> Any:
    highest = torch.tensor(rates, dtype=torch.float64).numpy()
    lowest = highest / _STLR_RATIO
    return combine_scheds([_STLR_CUT, 1 - _STLR_CUT], [SchedLin(lowest, highest), SchedLin(highest, lowest)])
