"""Whether ULMFiT language models of lowres learn as plain fastai's do: the same tokens, sizes, steps and settings.

    python benchmarks/ulmfit_parity.py PACKED [--steps 200] [--seeds 0 1] [--cells qrnn awd-lstm] [--threads 1]

PACKED: the folder of packed tokens (a `pack_tokens` artifact). Every contender sees the first steps x 64 x 70 tokens of
its train split once, under one cycle, and is judged by nats a token on the first 100,000 tokens of its valid split.
Contenders: fastai's learner, loaders, loss and optimiser around its own AWD_LSTM, or around a QRNN with a Python loop;
lowres in float32 and in bfloat16. Settings: drop_mult .1, Adam, 5e-3, weight decay .01, moments (.8, .7, .8), clip .25,
AR 2, TAR 1. Prints a table, and each seed's figures.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.text.data import LMDataLoader
from fastai.text.learner import language_model_learner
from fastai.text.models.awdlstm import AWD_LSTM
from fastai.text.models.core import _model_meta
from torch.nn import functional as F
from ulmfit import LoopQRNN

from lowres.artifacts import PackedTokens
from lowres.families.ulmfit.data import Documents, LmBatches
from lowres.families.ulmfit.learning import Phase, fit_phase, lm_learner
from lowres.families.ulmfit.paths import choose
from lowres.families.ulmfit.saved import LmConfig, build_lm
from lowres.families.ulmfit.spec import Optimisation

SIZES = {
    "qrnn": {"emb_size": 256, "n_hid": 512, "n_layers": 3},
    "awd-lstm": {"emb_size": 200, "n_hid": 512, "n_layers": 3},
}
SETTINGS = Optimisation(epochs=1, lr=5e-3, drop_mult=0.1)
VALID_TOKENS = 100_000


def documents(packed: PackedTokens, split: str, most: int) -> Documents:
    """The first documents of a split, the last of them cut so that there are `most` tokens."""
    ids, offsets = packed.tokens(split)[:most], np.load(packed.path / f"{split}.offsets.npy")
    return Documents(np.asarray(ids), np.append(offsets[offsets < len(ids)], len(ids)))


def texts_of(these: Documents) -> list[torch.Tensor]:
    return [
        torch.from_numpy(these.ids[a:b].astype(np.int64))
        for a, b in zip(these.offsets, these.offsets[1:], strict=False)
    ]


def fastais(cell: str, train: Documents, valid: Documents, vocabulary: int) -> Learner:
    """A Learner as a user of fastai makes one, but for the tokens, which are given as ids."""
    architecture = LoopQRNN if cell == "qrnn" else AWD_LSTM
    size = SIZES[cell]
    config = dict(_model_meta[architecture]["config_lm"])
    config |= {"emb_sz": size["emb_size"], "n_hid": size["n_hid"], "n_layers": size["n_layers"]}
    options = {"bs": SETTINGS.batch_size, "seq_len": SETTINGS.bptt, "num_workers": 0}
    loaders = DataLoaders(
        LMDataLoader(texts_of(train), shuffle=True, **options), LMDataLoader(texts_of(valid), shuffle=False, **options)
    )
    loaders.vocab = [str(k) for k in range(vocabulary)]  # type: ignore[attr-defined]
    return language_model_learner(
        loaders, architecture, config=config, drop_mult=SETTINGS.drop_mult, pretrained=False, metrics=[],
        cbs=[GradientClip(SETTINGS.clip)], moms=SETTINGS.moms, wd=SETTINGS.weight_decay,
    )  # fmt: skip


def ours(cell: str, train: Documents, valid: Documents, vocabulary: int, precision: str, seed: int) -> Learner:
    shape = {**SIZES[cell], "cell": cell, "precision": precision}
    config = LmConfig(**shape, vocab_size=vocabulary, pad_id=1, direction="forward")  # type: ignore[arg-type]
    model = build_lm(config, SETTINGS.drop_mult)
    cut = {"batch_size": SETTINGS.batch_size, "bptt": SETTINGS.bptt, "backward": False}
    learn = lm_learner(model, LmBatches(train, seed=seed, **cut), LmBatches(valid, seed=None, **cut), SETTINGS)
    choose(config, "cpu").use(model, learn.loss_func)  # type: ignore[arg-type]
    return learn


@torch.no_grad()
def nats(model: torch.nn.Module, valid: Documents) -> float:
    """Mean cross-entropy a token, in evaluation mode and float32, by one way for all."""
    model.eval()
    model.reset()  # type: ignore[operator]
    decoder = model[1].decoder  # type: ignore[index]
    total = count = 0
    for ids, targets in LmBatches(valid, 20, 70, seed=None, backward=False):
        found = model[0](ids)  # type: ignore[index]
        hidden = found[0] if isinstance(found, tuple) else found
        scores = F.linear(hidden.float(), decoder.weight, decoder.bias)
        total += float(F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="sum"))
        count += targets.numel()
    return total / count


def trained(name: str, cell: str, data: tuple[Documents, Documents, int], seed: int) -> tuple[float, float]:
    """(nats a token, processor seconds of the training)."""
    torch.manual_seed(seed)
    train, valid, vocabulary = data
    learn = fastais(cell, *data) if name == "fastai" else ours(cell, train, valid, vocabulary, name, seed)
    begun = time.process_time()
    with learn.no_bar(), learn.no_logging():
        if name == "fastai":
            learn.fit_one_cycle(1, SETTINGS.lr)
        else:
            groups = SIZES[cell]["n_layers"] + 1
            fit_phase(learn, Phase(0, 1, (SETTINGS.lr,) * groups))
    seconds = time.process_time() - begun
    return nats(learn.model, valid), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--cells", nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    packed = PackedTokens(given.packed)
    train = documents(packed, "train", given.steps * SETTINGS.batch_size * SETTINGS.bptt + 1)
    valid = documents(packed, "valid", VALID_TOKENS)
    vocabulary = int(max(packed.tokens(split).max() for split in ("train", "valid"))) + 1
    print(f"{len(train.ids):,} tokens, {given.steps} steps, vocabulary {vocabulary:,}, {len(given.seeds)} seeds\n")
    print("| cell | contender | nats a token, mean | of each seed | processor s |\n|---|---|---:|---|---:|")
    for cell in given.cells:
        for name in ("fastai", "float32", "bfloat16"):
            runs = [trained(name, cell, (train, valid, vocabulary), seed) for seed in given.seeds]
            losses, seconds = zip(*runs, strict=True)
            label = "fastai" if name == "fastai" else f"lowres, {name}"
            each = " ".join(f"{loss:.4f}" for loss in losses)
            print(
                f"| {cell} | {label} | {statistics.mean(losses):.4f} | {each} | {statistics.mean(seconds):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
