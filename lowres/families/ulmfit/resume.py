"""Step-exact resume of a fastai training: a checkpoint holds all that the next step depends on.

That is the weights, the optimiser's moments, the recurrent state, the place in the schedule and in the data, and the
generators. The batches themselves follow from the loader's seed (data.py).
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import (
    Callback,
    CancelEpochException,  # pyright: ignore[reportAttributeAccessIssue]
    CancelFitException,  # pyright: ignore[reportAttributeAccessIssue]
)
from safetensors.torch import save_file
from torch import Tensor

from lowres.artifacts import Run, read_json, write_json
from lowres.errors import LowresError, NotFinite, Stopped
from lowres.families.ulmfit.paths import Paths, choose, pinned
from lowres.families.ulmfit.saved import put_weights, weights_of
from lowres.families.ulmfit.spec import Network
from lowres.families.ulmfit.tensors import below, read_tensors
from lowres.training.checkpoint import Checkpoints
from lowres.training.log import TrainingLog

_SMOOTHING = 0.98


@dataclass
class Place:
    """How far a training is. phase: which fit; epoch, batch: within it; pct_train: fastai's place in the schedule."""

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    passes: int = 0
    """Epochs finished in all phases."""
    steps: int = 0
    tokens: int = 0
    pct_train: float = 0.0
    train_iter: int = 0
    smooth_loss: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    """Of each finished epoch: steps, train_loss (smoothed), valid_loss (mean over targets)."""
    best_pass: int = 0
    """The number of the epoch with the least valid_loss, where training may stop early; 0: none yet."""

    @property
    def kept(self) -> dict[str, float]:
        """What history says of the epoch whose weights are kept."""
        return self.history[self.best_pass - 1]


class Journal(Callback):
    """Reports progress, saves checkpoints, stops when asked to, and goes on from the last checkpoint.

    Its order puts it behind TrainEvalCallback and ModelResetter, which set pct_train and the recurrent state back at
    the start of an epoch. An error is kept in `error` and fastai's CancelFitException ends the fit: fastai rewrites the
    message of whatever else a callback raises.
    """

    order = 100
    learn: Any

    def __init__(
        self, stage: Run, checkpoints: Checkpoints, total_tokens: int, what: str, paths: Paths, patience: int = 0
    ):
        """what: names the training in progress notes. total_tokens: of all phases. paths: kept with a checkpoint.

        patience: epochs of the last phase without a better validation loss after which it ends; 0: it goes on.
        """
        self.stage, self.checkpoints, self.total_tokens = stage, checkpoints, total_tokens
        self.what, self.paths, self.patience = f"{what}, {paths}", paths, patience
        self.log = TrainingLog(checkpoints.folder.with_suffix(".jsonl"))
        self.place = Place()
        self._watching = False
        self._best: dict[str, Tensor] = {}
        self.error: LowresError | None = None
        self._restored: dict[str, Tensor] = {}
        self._skipping = False
        self._valid_loss, self._valid_targets = 0.0, 0

    def restore(self) -> bool:
        """Reads the newest checkpoint and puts its weights into the learner. False where there is none."""
        latest = self.checkpoints.latest()
        self.log.go_on_from(latest[0] if latest else 0)
        if latest is None:
            return False
        tensors = read_tensors(latest[1] / "state.safetensors")
        about = read_json(latest[1] / "place.json")
        self.place = Place(**about["place"])
        self._restored, self._best = tensors, below(tensors, "best.")
        if scaling := self._scaling():
            scaling.scale, scaling.good_steps = about["loss_scale"]
        put_weights(self.learn.model, below(tensors, "model."), str(latest[1]))
        return True

    def begin_phase(self, last: bool) -> None:
        """Called before each fit."""
        self._watching = last and self.patience > 0

    def before_fit(self):
        """Puts back the optimiser's moments: Learner.freeze_to, which comes before each fit, clears them."""
        moments = below(self._restored, "moments.")
        for number, (parameter, _, state, _) in enumerate(self.learn.opt.all_params()):
            found = below(moments, f"{number}.")
            self.learn.opt.state[parameter] = state | {name: t.to(parameter.device) for name, t in found.items()}

    def before_epoch(self):
        """Skips the epochs of this phase that a checkpoint has behind it."""
        self._skipping = self.learn.epoch < self.place.epoch
        if self._skipping:
            raise CancelEpochException

    def before_train(self):
        """Brings the loader, the schedule, the recurrent state and the generators to where the checkpoint was."""
        self.learn.dls.train.begin_at(self.place.passes, self.place.batch)
        if not self._restored:
            return
        self.learn.pct_train, self.learn.train_iter = self.place.pct_train, self.place.train_iter
        _put_hidden(self.learn.model, below(self._restored, "hidden."))
        torch.set_rng_state(self._restored["generator.cpu"])
        if "generator.cuda" in self._restored:
            torch.cuda.set_rng_state(self._restored["generator.cuda"])
        self._restored = {}

    def before_validate(self):
        """Begins the sum of the validation loss."""
        self._valid_loss, self._valid_targets = 0.0, 0

    def after_batch(self):
        """Counts the step; saves when it is time; stops the fit when asked to, or when the loss is not a number."""
        loss = self.learn.loss.item()
        if not self.learn.training:
            targets = self.learn.yb[0].numel()
            self._valid_loss += loss * targets
            self._valid_targets += targets
            self._report()
            return
        place = self.place
        if not math.isfinite(loss):
            self._stop(NotFinite(f"{self.what}: the loss is {loss} at step {place.steps + 1}; lower the learning rate"))
        place.batch += 1
        place.steps += 1
        place.tokens += self.learn.xb[0].numel()
        place.pct_train, place.train_iter = self.learn.pct_train, self.learn.train_iter
        place.smooth_loss = loss if place.steps == 1 else _SMOOTHING * place.smooth_loss + (1 - _SMOOTHING) * loss
        if self.log.due(place.steps):
            self._log(loss)
        if self.checkpoints.due():
            self._save()
        self._report()

    def _log(self, loss: float) -> None:
        place, norm = self.place, self.learn.clip_norm.norm
        values = {"loss": loss, "smooth_loss": place.smooth_loss, "lr": float(self.learn.opt.hypers[-1]["lr"])}
        if norm is not None:
            values["grad_norm"] = float(norm)
        self.log.add(place.steps, tokens=place.tokens, **values)

    def after_epoch(self):
        """Notes the epoch's losses and goes on to the next."""
        if self._skipping:
            return
        place = self.place
        valid = self._valid_loss / self._valid_targets if self._valid_targets else math.nan
        if not math.isfinite(valid):
            self._stop(NotFinite(f"{self.what}: the validation loss is {valid}; lower the learning rate"))
        losses = {"train_loss": place.smooth_loss, "valid_loss": valid}
        place.history.append({"steps": place.steps, **losses})
        place.epoch, place.batch, place.passes = place.epoch + 1, 0, place.passes + 1
        self.log.add(place.steps, epoch=place.passes, **losses)
        if self._watching:
            self._keep_best()

    def _keep_best(self) -> None:
        """Copies the weights of the best epoch so far; ends the fit where it is too long ago."""
        place = self.place
        if not place.best_pass or place.history[-1]["valid_loss"] < place.kept["valid_loss"]:
            place.best_pass = place.passes
            self._best = {name: tensor.detach().clone() for name, tensor in weights_of(self.learn.model).items()}
        elif place.passes - place.best_pass >= self.patience:
            raise CancelFitException

    def end_phase(self) -> None:
        """Called behind each fit. Raises what stopped the fit."""
        if self.error is not None:
            raise self.error
        if self._best:
            put_weights(self.learn.model, self._best, "the best epoch")
        self.place.phase, self.place.epoch, self.place.batch = self.place.phase + 1, 0, 0

    def _scaling(self) -> Any:
        """The callback that scales the loss, where there is one."""
        return getattr(self.learn, "loss_scale", None)

    def _report(self) -> None:
        place = self.place
        valid = f", valid {place.history[-1]['valid_loss']:.3f}" if place.history else ""
        note = f"{self.what}: loss {place.smooth_loss:.3f}{valid}"
        try:
            self.stage.progress(min(place.tokens, self.total_tokens), self.total_tokens, "tokens", note)
        except Stopped as stopped:
            self._save()
            self._stop(stopped)

    def _stop(self, error: LowresError) -> None:
        self.error = error
        raise CancelFitException

    def _save(self) -> None:
        self.checkpoints.save(self.place.steps, self._write)

    def _write(self, folder: Path) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in weights_of(self.learn.model).items()}
        for number, (_, _, state, _) in enumerate(self.learn.opt.all_params()):
            tensors |= {f"moments.{number}.{name}": t for name, t in state.items() if isinstance(t, Tensor)}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        tensors |= {f"hidden.{name}": tensor for name, tensor in _hidden_of(self.learn.model).items()}
        tensors["generator.cpu"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            tensors["generator.cuda"] = torch.cuda.get_rng_state()
        save_file({k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}, folder / "state.safetensors")
        about: dict[str, Any] = {"place": asdict(self.place), "paths": self.paths.facts()}
        if scaling := self._scaling():
            about["loss_scale"] = [scaling.scale, scaling.good_steps]
        write_json(folder / "place.json", about)


def paths_for(network: Network, device: str, checkpoints: Checkpoints) -> Paths:
    """The paths of a training: those of its last checkpoint, that it may end at the same weights, else chosen now."""
    latest = checkpoints.latest()
    if latest is None:
        return choose(network, device)
    return pinned(read_json(latest[1] / "place.json"), latest[1], device)


def _encoder(model: Any) -> Any:
    """The AWD_LSTM inside a language model or a classifier."""
    return getattr(model[0], "module", model[0])


def _hidden_of(model: Any) -> dict[str, Tensor]:
    """The recurrent state, "layer.part" -> (1, batch, width)."""
    hidden = _encoder(model).hidden
    return {f"{layer}.{part}": state for layer, states in enumerate(hidden) for part, state in enumerate(states)}


def _put_hidden(model: Any, states: dict[str, Tensor]) -> None:
    """The inverse of _hidden_of. Sets `bs` too: AWD_LSTM would else cut or pad the state at the next batch."""
    encoder = _encoder(model)
    device = next(encoder.parameters()).device
    layers = range(len(encoder.hidden))
    parts = [sorted(name for name in states if name.startswith(f"{layer}.")) for layer in layers]
    encoder.hidden = [tuple(states[name].to(device) for name in names) for names in parts]
    encoder.bs = encoder.hidden[0][0].shape[1]
