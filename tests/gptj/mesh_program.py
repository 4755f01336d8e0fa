"""What the tests of meshes run in processes of their own, for JAX makes its devices when it starts."""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lowres.artifacts import Run
from lowres.devices import Devices, Mesh, Saving
from lowres.errors import DataError, Stopped
from lowres.families.gptj import class_mesh, finetune, mesh, mesh_train, parallel, train
from lowres.families.gptj.classify import without_heads
from lowres.families.gptj.config import Config
from lowres.families.gptj.data import Rows, Stream
from lowres.families.gptj.lora import joined, merged, parted
from lowres.families.gptj.model import init
from lowres.families.gptj.settings import Lora, TuneSpec

CONFIG = Config(vocab_size=51, n_ctx=8, n_layer=2, n_embd=16, n_head=2, rotary_dim=4)
BOS = 2
ROWS = Rows(Stream(np.tile(np.arange(2, 40), 20), 8), 8, 7)


def parity(out: Path) -> None:
    """Loss and gradients of one batch on one device by train.lm_loss, on a mesh of one, and on 2 x 2 x 2."""
    rows = np.random.default_rng(0).integers(0, 50, (8, 9)).astype(np.int32)
    rows[1, 5:] = -1
    hyper = train.Hyper(0.1, 0.99, 1e-4, 0.0, True, "float32")
    params = {name: 5 * np.asarray(array) for name, array in init(CONFIG, 1).items()}
    key = jax.random.key(3)
    plain = jax.jit(jax.value_and_grad(partial(train.lm_loss, config=CONFIG, hyper=hyper, key=None)))
    found = {"plain": plain(params, rows, BOS), "1": None, "8": None}
    for name, sizes in (("1", (1, 1, 1)), ("8", (2, 2, 2))):
        devices = jax.make_mesh(sizes, ("data", "fsdp", "tensor"), devices=jax.devices()[: int(name)])
        with jax.set_mesh(devices):
            lying = mesh.placed(params, devices)
            batch = mesh.put(rows.reshape(2, 4, 9), NamedSharding(devices, P(None, mesh.ROWS, None)))
            plan = parallel.Plan(2, "full" if name == "8" else "none", "chunked")
            step = jax.jit(partial(parallel.loss_and_gradients, config=CONFIG, hyper=hyper, plan=plan))
            found[name] = step(lying, {}, batch, np.int32(BOS), key)[:2]
            if name == "8":
                shares = {n: a.addressable_shards[0].data.size / a.size for n, a in found[name][1].items()}
    arrays = {f"{n}/{k}": np.asarray(a) for n, (_, slopes) in found.items() for k, a in slopes.items()}
    np.savez(out / "slopes.npz", **arrays)
    losses = {name: float(loss) for name, (loss, _) in found.items()}
    said = {"losses": losses, "shares": shares, "faults": faults(), "moments": moments_of_8_bits(out)}
    (out / "found.json").write_text(json.dumps(said))


def moments_of_8_bits(out: Path) -> dict[str, dict[str, float]]:
    """Three updates on 1 x 1 x 1 and 2 x 2 x 2; the share that a device has of codes and scales."""
    rng, shares = np.random.default_rng(0), {}
    sizes_of = {"q": (2, 4, 512), "out": (2, 512, 4), "fc_in": (2, 4, 16), "wte": (6, 4)}
    gradients = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes_of.items()}
    chain = train.Hyper(0.1, 0.99, 0.0, 0.0, True, "float32", moments="int8").optimiser()
    for name, sizes in (("1", (1, 1, 1)), ("8", (2, 2, 2))):
        devices = jax.make_mesh(sizes, ("data", "fsdp", "tensor"), devices=jax.devices()[: int(name)])
        with jax.set_mesh(devices):
            lying = mesh.placed(gradients, devices)
            state, update, updates = jax.jit(chain.init)(lying), jax.jit(chain.update), {}
            for _ in range(3):
                updates, state = update(lying, state, lying)
            np.savez(out / f"updates-{name}.npz", **{n: np.asarray(a) for n, a in updates.items()})
            for part in ("codes", "scales") if name == "8" else ():
                arrays = {n: getattr(a, part, a) for n, a in state[1].square.items()}
                shares[part] = {n: a.addressable_shards[0].data.size / a.size for n, a in arrays.items()}
    return shares


def faults() -> list[str]:
    said = []
    for asked, batch_size in ((Mesh(data=3), 8), (Mesh(tensor=8), 8), (Mesh(data=2, tensor=2), 6), (Mesh(), 8)):
        try:
            mesh.make_mesh(asked, CONFIG, batch_size, 1)
        except DataError as error:
            said.append(str(error))
    return said


def trained(work: Path, out: Path, sizes: str, kill_at: str = "") -> None:
    """Trains on a mesh; a step to be killed at; "stop N": asked to stop there."""
    data, fsdp, tensor = map(int, sizes.split("x"))
    hosts = int(os.environ.get("JAX_NUM_PROCESSES", "1"))
    seen = []

    def progress(done, total, unit, note):
        seen.append(done)
        if kill_at.isdigit() and done == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    saving = Saving(seconds=0, keep_every=2, folder=str(work.parent.parent / "shared") if hosts > 1 else None)
    devices = Devices(mesh=Mesh(data=data, fsdp=fsdp, tensor=tensor), hosts=hosts, checkpoints=saving)
    mesh.join_hosts(hosts)
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    stop = kill_at.startswith("stop") and jax.process_index() == 0
    run = Run(out, work, 0, devices=devices, on_progress=progress)
    run.stop_requested = lambda: stop and seen[-1] == int(kill_at.split()[1])
    spec = TuneSpec(batch_size=8, epochs=1.0, lr=1e-2, seed=7, accumulate=2, dropout=0.1)
    try:
        params, _ = mesh_train.fit(init(CONFIG, 0), ROWS, CONFIG, BOS, spec, run)
    except Stopped:
        (out / "stopped").write_text(str(seen[-1]))
        return
    np.savez(out / "params.npz", **params)
    (out / "first").write_text(str(seen[0]))


def adapted(out: Path) -> None:
    """An adapter beside 8-bit weights on 1 x 1 x 1 and 2 x 2 x 2."""
    lora = Lora(rank=2, int8=True, norms=True)
    rows = np.random.default_rng(0).integers(0, 50, (8, 9)).astype(np.int32)
    hyper = train.Hyper(0.1, 0.99, 1e-4, 0.0, True, "float32", 8.0)
    config = Config(vocab_size=52, n_ctx=8, n_layer=1, n_embd=128, n_head=2, rotary_dim=4)
    frozen, own = parted(init(config, 0), config, lora, 0)
    own = {name: array + 0.01 for name, array in own.items()}
    for name, sizes in (("1", (1, 1, 1)), ("8", (2, 2, 2))):
        devices = jax.make_mesh(sizes, ("data", "fsdp", "tensor"), devices=jax.devices()[: int(name)])
        with jax.set_mesh(devices):
            batch = mesh.put(rows[None], NamedSharding(devices, P(None, mesh.ROWS, None)))
            step = partial(parallel.loss_and_gradients, config=config, hyper=hyper,
                           plan=parallel.Plan(1, "none", "chunked"))  # fmt: skip
            loss, slopes, _ = jax.jit(step)(
                mesh.placed(own, devices), mesh.placed(frozen, devices), batch, np.int32(BOS), jax.random.key(0)
            )
            np.savez(out / f"{name}.npz", loss=loss, **{n: np.asarray(a) for n, a in slopes.items()})


def classified(out: Path) -> None:
    """A classifier's loss, gradients and pool of six texts, two longer than the context: one device, and 2 x 2 x 2."""
    lengths = np.array([3, 8, 16, 1, 11, 5], np.int32)
    tokens = np.random.default_rng(0).integers(0, 50, (6, 16)).astype(np.int32) * (np.arange(16) < lengths[:, None])
    batch = tokens, lengths, np.array([0, 2, 1, 1, 0, 2], np.int32)
    hyper = finetune.ClassHyper(0.01, 0.3, 0.1, 2.0)
    params = {name: 5 * np.asarray(array) for name, array in without_heads(init(CONFIG, 1)).items()}
    frozen, trained = parted(params, CONFIG, Lora(rank=2, norms=True), 0)
    drawn = np.random.default_rng(2)
    trained = {name: array + 0.05 * drawn.standard_normal(array.shape, np.float32) for name, array in trained.items()}
    trained |= {"pool_weights": 0.1 * drawn.standard_normal((48, 3), np.float32), "pool_bias": np.zeros(3, np.float32)}
    place = class_mesh.OnMesh(Devices(mesh=Mesh(data=2, fsdp=2, tensor=2)), CONFIG)

    def plain(trained: dict, beside: dict) -> jax.Array:
        return finetune.class_loss(joined(beside, trained, 2.0), *batch, jax.random.key(5), CONFIG, hyper)

    for name, beside, own in (("full", {}, merged(frozen, trained, 2.0)), ("lora", frozen, trained)):
        # not compiled as a whole: without optimisation XLA computes the states twice, and max's gradient gets lost
        loss, slopes = jax.value_and_grad(plain)(own, beside)
        np.savez(out / f"{name}-1.npz", loss=loss, pool=finetune.OneDevice().read(params, tokens, lengths, CONFIG),
                 **slopes)  # fmt: skip
        with place.scope():
            lying, there = place.put(own), place.put(beside)
            some = place.batch(*batch)
            key, plan = jax.random.key(5), place.plan(tokens)
            loss, slopes = class_mesh.loss_and_gradients(lying, there, some, key, CONFIG, hyper, plan)
            pool = place.read(place.put(params), tokens, lengths, CONFIG)
            np.savez(out / f"{name}-8.npz", loss=loss, pool=pool, **mesh.on_host(slopes))
    rows = np.random.default_rng(0).integers(0, 50, (7, 9)).astype(np.int32)
    whole, run = init(CONFIG, 1), Run(out, out, 0, devices=Devices(mesh=Mesh(tensor=2)))
    nats = mesh_train.nats_of(whole, rows, CONFIG, BOS, 3, run)
    np.savez(out / "nats.npz", one=np.concatenate(train.row_nats(whole, rows, CONFIG, BOS, 3)), eight=nats)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    paths = [Path(a) if "/" in a else a for a in arguments]
    {"parity": parity, "trained": trained, "adapted": adapted, "classified": classified}[name](*paths)
