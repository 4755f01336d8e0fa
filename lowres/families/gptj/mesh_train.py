"""The loop of training on a mesh of devices and hosts, and which trainings take it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lowres.artifacts import Run
from lowres.errors import Stopped
from lowres.families.gptj import attention
from lowres.families.gptj.config import Config
from lowres.families.gptj.data import Rows, padded_batches
from lowres.families.gptj.mesh import ROWS, any_host, make_mesh, on_host, placed, put, put_like, whole
from lowres.families.gptj.parallel import Measures, Plan, mesh_nats, mesh_step
from lowres.families.gptj.saving import MeshCheckpoints, folder_of
from lowres.families.gptj.speed import Speed, flops_a_token, said, tell_formula
from lowres.families.gptj.train import (
    Hyper,
    State,
    check_finite,
    learning_rate,
    load_state,
    mean_nats,
    row_nats,
    train_lm,
)
from lowres.training.checkpoint import Checkpoints
from lowres.training.log import TrainingLog

NOISE_MEMORY = 0.95
"""Of the two averages behind the gradient noise scale, a step."""
HostParams = Mapping[str, Any]


def fit(
    params: HostParams,
    rows: Rows,
    config: Config,
    bos_id: int,
    settings: Any,
    run: Run,
    frozen: HostParams | None = None,
) -> tuple[dict[str, Any], float]:
    """train.train_lm, on one CPU device as it always was, or on the mesh of all devices; gives arrays of the host."""
    if not on_mesh(settings, run):
        device = {name: jnp.asarray(array) for name, array in params.items()}
        beside = {name: jnp.asarray(array) for name, array in (frozen or {}).items()}
        return train_lm(device, rows, config, bos_id, settings, run, beside)
    return train_on_mesh(params, rows, config, bos_id, settings, run, frozen)


def on_mesh(settings: Any, run: Run) -> bool:
    """Whether a training takes the mesh's program: not on one CPU device, where nothing that only it has is asked."""
    plain = settings.accumulate == 1 and settings.remat == "auto" and settings.attention == "auto"
    begun = (run.work / "mesh-checkpoints").is_dir()  # there, before it was stopped, there were more devices
    return not (plain and alone()) or begun


def alone() -> bool:
    """Whether there is one CPU device, and nothing else."""
    return jax.device_count() == 1 and jax.devices()[0].platform == "cpu"


def plan_of(settings: Any, config: Config, time: int, device: Any = None) -> Plan:
    """How a step is computed, on the first device unless one is given. remat "auto" keeps a layer's input alone."""
    auto = attention.chosen(device or jax.devices()[0], config.head_dim, time, settings.precision)
    kind = auto if settings.attention == "auto" else settings.attention
    return Plan(settings.accumulate, "full" if settings.remat == "auto" else settings.remat, kind)


@dataclass
class Progress:
    """What a training has so far: its state on the mesh, every step's loss, and averages of gradients' squares."""

    state: State
    losses: np.ndarray
    noise: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float64))
    """Of the trace of the gradients' covariance, a row, and of the true gradient's square: McCandlish et al. 2018."""

    def tree(self) -> tuple[State, np.ndarray, np.ndarray]:
        """What a checkpoint holds."""
        return self.state, self.losses, self.noise


def train_on_mesh(
    params: HostParams,
    rows: Rows,
    config: Config,
    bos_id: int,
    settings: Any,
    run: Run,
    frozen: HostParams | None = None,
) -> tuple[dict[str, Any], float]:
    """train.train_lm on all devices of all hosts.

    A killed training goes on to the same losses on the same mesh bit for bit, on another within float32's rounding.
    """
    mesh = make_mesh(run.devices.mesh, config, settings.batch_size, settings.accumulate)
    hyper, plan, total = Hyper.of(settings), plan_of(settings, config, rows.n_ctx), rows.steps(settings.epochs)
    with jax.set_mesh(mesh):
        trained, beside = placed(params, mesh), placed(frozen or {}, mesh, settings.precision)
        state = State(trained, jax.jit(hyper.optimiser().init)(trained))
        progress = Progress(state, np.zeros(total, np.float32))
        checkpoints = MeshCheckpoints(folder_of(run.work, run.devices), run.devices)
        start = resumed(progress, checkpoints, rows, run)
        logs = Logs(run, start, Speed(settings.batch_size * rows.n_ctx, flops_a_token(config, rows.n_ctx, not frozen),
                                      settings.precision))  # fmt: skip
        root = jax.random.key(rows.seed)
        for step in range(start, total):
            tell(run, checkpoints, (step, total), logs.note, progress, rows)
            rate = np.float32(learning_rate(step, total, settings.lr, settings.end_lr, settings.warmup))
            batch = placed_rows(rows.batch(step), settings.accumulate, mesh)
            key = jax.random.fold_in(root, step)
            progress.state, measures = mesh_step(
                progress.state, beside, batch, rate, np.int32(bos_id), key, config, hyper, plan
            )
            progress.losses[step] = check_finite(float(measures.loss), step, settings.lr)
            noise = noise_scale(progress, measures, settings) if settings.accumulate > 1 else {}
            logs.stepped(step + 1, total, measures, float(rate), noise)
        checkpoints.close()
        logs.keep()
        run.progress(total, total, "steps", f"loss {progress.losses[-1]:.3f}")
        return on_host(progress.state.params), float(progress.losses[-max(total // 10, 1) :].mean())


def placed_rows(rows: np.ndarray, accumulate: int, mesh: jax.sharding.Mesh) -> jax.Array:
    """(rows, time + 1) as (micro-batches, rows, time + 1) on the mesh; a host cuts out what its devices read."""
    return put(rows.reshape(accumulate, -1, rows.shape[-1]), NamedSharding(mesh, P(None, ROWS, None)))


def resumed(progress: Progress, checkpoints: MeshCheckpoints, rows: Rows, run: Run) -> int:
    """Goes on from the newest checkpoint, also from one that a single device wrote. Returns the step it is at."""
    plain, step = Checkpoints(run.work / "checkpoints").latest(), checkpoints.latest()
    if plain is not None and plain[0] > (step or 0):
        host, losses = load_state(plain[1], (progress.state, progress.losses))
        progress.state, progress.losses = put_like(host, progress.state), losses
        return plain[0]
    if step is None:
        return 0
    (progress.state, losses, noise), cursor = checkpoints.load(step, progress.tree())
    progress.losses, progress.noise = np.array(losses), np.array(noise)
    return rows.step_at(cursor)


class Saved(Protocol):
    """What a checkpoint is made of: Progress, and that of a classifier."""

    def tree(self) -> Any:
        """Arrays."""
        ...


class Cursor(Protocol):
    """Data that a checkpoint says the place in: rows, and a classifier's batches."""

    def cursor(self, step: int) -> dict[str, int]:
        """Where the data are before a step."""
        ...


def tell(
    run: Run, checkpoints: MeshCheckpoints, step_of: tuple[int, int], note: str, progress: Saved, rows: Cursor
) -> None:
    """Says how far training is, and saves where it is time; all hosts at the same step, whichever of them wants it."""
    step, total = step_of
    stopped = None
    try:
        run.progress(step, total, "steps", note)
    except Stopped as error:
        stopped = error
    stop, due = any_host(stopped is not None, checkpoints.due(step))
    if stop or due:
        checkpoints.save(step, progress.tree(), rows.cursor(step))
    if stop:
        checkpoints.close()
        raise stopped or Stopped("another host was stopped; run the same command on every host to go on")


def noise_scale(progress: Progress, measures: Measures, settings: Any) -> dict[str, float]:
    """The gradient noise scale in rows, beyond which a batch brings less (McCandlish et al. 2018, appendix A)."""
    small, big = (float(square) for square in measures.squares)
    rows, micro = settings.batch_size, settings.batch_size // settings.accumulate
    true = (rows * big - micro * small) / (rows - micro)
    trace = (small - big) / (1 / micro - 1 / rows)
    progress.noise[:] = NOISE_MEMORY * progress.noise + (1 - NOISE_MEMORY) * np.array([trace, true])
    return {"noise_scale": float(progress.noise[0] / progress.noise[1])} if progress.noise[1] > 0 else {}


class Logs:
    """training.jsonl, the same for equal trainings, and speed.jsonl, which is not; and a note for progress."""

    def __init__(self, run: Run, start: int, speed: Speed):
        self._out, self._speed, self._first = run.out, speed, True
        self._training = TrainingLog(run.work / "checkpoints.jsonl")
        self._speeds = TrainingLog(run.work / "speed.jsonl")
        for log in (self._training, self._speeds):
            log.go_on_from(start)
        self.note = "compiling"
        self._fast = ""
        tell_formula(speed)

    def stepped(self, step: int, total: int, measures: Measures, rate: float, noise: dict[str, float]) -> None:
        """After each step; lines where they are due. The first step compiles, and is not counted."""
        loss = float(measures.loss)
        self._speed.began() if self._first else self._speed.stepped()
        self._first = False
        if self._training.due(step) or step == total:
            self._training.add(step, loss=loss, lr=rate, grad_norm=float(measures.grad_norm), **noise)
            looked = self._speed.look()
            self._speeds.add(step, **looked)
            self._fast = said(looked)
        self.note = f"loss {loss:.3f}{self._fast}"

    def keep(self) -> None:
        """Copies them beside the weights."""
        self._training.keep(self._out / "training.jsonl")
        self._speeds.keep(self._out / "speed.jsonl")


def score(params: HostParams, rows: np.ndarray, config: Config, bos_id: int, settings: Any, run: Run) -> float:
    """train.mean_nats, where `fit` trained them."""
    if not on_mesh(settings, run):
        device = {name: jnp.asarray(array) for name, array in params.items()}
        return mean_nats(device, rows, config, bos_id, settings.batch_size)
    total = sum(float(nats.sum()) for nats in _nats_on_mesh(params, rows, config, bos_id, settings.batch_size, run))
    return total / max(int(((rows[:, :-1] >= 0) & (rows[:, 1:] >= 0)).sum()), 1)


def nats_of(params: HostParams, rows: np.ndarray, config: Config, bos_id: int, batch_size: int, run: Run) -> np.ndarray:
    """train.row_nats, on one CPU device as it always was, or on the mesh of all devices: (rows, n_ctx)."""
    if not alone():
        return np.concatenate(list(_nats_on_mesh(params, rows, config, bos_id, batch_size, run)))
    device = {name: jnp.asarray(array) for name, array in params.items()}
    said = partial(run.progress, unit="windows")
    return np.concatenate(row_nats(device, rows, config, bos_id, batch_size, said))


def _nats_on_mesh(
    params: HostParams, rows: np.ndarray, config: Config, bos_id: int, batch_size: int, run: Run
) -> Iterator[np.ndarray]:
    """Those of each batch, of at least batch_size rows."""
    mesh = make_mesh(run.devices.mesh, config, jax.device_count(), 1)
    across = mesh.shape["data"] * mesh.shape["fsdp"]
    plan = Plan(1, "none", attention.chosen(jax.devices()[0], config.head_dim, rows.shape[1] - 1, "float32"))
    size, done = -(-batch_size // across) * across, 0
    with jax.set_mesh(mesh):
        lying = placed(params, mesh)
        for batch in padded_batches(rows, size):
            some = put(batch, NamedSharding(mesh, P(ROWS, None)))
            nats = whole(mesh_nats(lying, some, np.int32(bos_id), config, plan, "float32"))[: len(rows) - done]
            done += len(nats)
            yield nats
            run.progress(done, len(rows), "windows")
