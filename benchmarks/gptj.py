"""How fast GPT-J trains and writes on a CPU, beside transformers' GPTJForCausalLM and the product rate of JAX.

    python benchmarks/gptj.py [--rounds 8] [--threads 2] [--only train|generate] [--processor-time] [--small]
                              [--json OUT]

Every round runs every contender once, in one process and in turn, so that whatever else the machine does falls on all
of them; medians are compared, and the best rounds stand beside them. A step is 4 rows of 256 tokens through 8 layers of
512 with a vocabulary of 10,000, 35 M parameters: forward, backward, clipping at norm 1, AdamW. Ours is the step that
the stages run (train.lm_step), with its mask of documents, z-loss and gradient norm. transformers runs as it comes with
torch.optim.AdamW, then with oneDNN's float32 products and under autocast to bfloat16. "products" is every matrix
product of a step with weights, forward and both gradients, by jnp.matmul and alone. Text is written greedily, 128
tokens behind 64, by the same weights; the tokens are compared. --processor-time: processor seconds instead of seconds,
for --threads 1 on a machine that does other work as well. --small: toy sizes, to see that it runs.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from rounds import in_turn

from lowres.experiment.local import worker_environment
from lowres.experiment.results import processor_name
from lowres.families.gptj.checkpoints.configuration import hf_config
from lowres.families.gptj.checkpoints.loading import tensor_reader
from lowres.families.gptj.config import Config
from lowres.families.gptj.generate import Generator, Sampling, layered_reading
from lowres.families.gptj.layered import Layered
from lowres.families.gptj.model import count, init, layers_of
from lowres.families.gptj.speed import flops_a_token
from lowres.families.gptj.train import HEAD_ROWS, Hyper, State, lm_step, optimiser
from lowres.guard import guard_torchvision
from lowres.store import default_store

guard_torchvision()

import transformers  # noqa: E402 - behind its guard

DEFAULT, ONEDNN, BF16 = "transformers", "transformers, oneDNN", "transformers, bfloat16"
TRAINING = 1.6
SHARE = 0.6
WRITING = 2.0
clock = time.perf_counter
"""Or, with --processor-time, time.process_time."""


@dataclass(frozen=True)
class Sizes:
    config: Config = Config(vocab_size=10_000, n_ctx=256, n_layer=8, n_embd=512, n_head=8, rotary_dim=32)
    batch: int = 4
    prompt: int = 64
    new: int = 128
    rows: tuple[int, ...] = (1, 8)

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.batch * self.config.n_ctx

    def products(self) -> dict[tuple[int, int, int], int]:
        """(rows, inputs, outputs) of a product with weights -> how many of them a forward pass has."""
        d, n = self.config.n_embd, self.config.n_layer
        piece = min(HEAD_ROWS, self.tokens)
        found = {(self.tokens, d, d): 4 * n, (self.tokens, d, 4 * d): n, (self.tokens, 4 * d, d): n}
        return found | {(piece, d, self.config.vocab_size): self.tokens // piece}


SMALL = Sizes(Config(vocab_size=64, n_ctx=8, n_layer=2, n_embd=16, n_head=2, rotary_dim=4), 2, 3, 4, (1, 2))


# --- training ---------------------------------------------------------------------------------------------------------


def own_step(sizes: Sizes, params: dict[str, Any], precision: str) -> Callable[[], float]:
    """Seconds of a step of the stages' own program."""
    hyper = Hyper(0.1, 0.99, 1e-4, 0.0, True, precision)
    state = State({name: jnp.array(array) for name, array in params.items()}, None)
    state = State(state.params, optimiser(hyper.weight_decay, hyper.beta2).init(state.params))
    rows = np.random.default_rng(0).integers(1, sizes.config.vocab_size, (sizes.batch, sizes.config.n_ctx + 1))
    rows = rows.astype(np.int32)

    def one() -> float:
        nonlocal state
        began = clock()
        state, loss, _ = lm_step(state, {}, rows, np.float32(1e-3), np.int32(0), jax.random.key(0), sizes.config, hyper)
        float(loss)
        jax.block_until_ready(state)
        return clock() - began

    return one


def their_model(sizes: Sizes, params: dict[str, Any]) -> Any:
    """GPTJForCausalLM with the same weights."""
    settings = transformers.GPTJConfig(**hf_config(sizes.config, 0, None))
    model = transformers.GPTJForCausalLM(settings)
    read = tensor_reader(params, sizes.config)
    model.load_state_dict({name: torch.tensor(np.array(read(name))) for name in model.state_dict()})
    model.generation_config.eos_token_id = None
    return model


@contextmanager
def mode(name: str) -> Iterator[None]:
    """The products that a contender of torch takes."""
    torch.set_float32_matmul_precision("medium" if name == ONEDNN else "highest")
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=name == BF16):
            yield
    finally:
        torch.set_float32_matmul_precision("highest")


def their_step(sizes: Sizes, params: dict[str, Any], name: str) -> Callable[[], float]:
    """Seconds of a step of transformers: the loss it computes of labels, clipping as its Trainer's, AdamW."""
    model = their_model(sizes, params).train()
    steps = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(1, sizes.config.vocab_size, (sizes.batch, sizes.config.n_ctx), generator=draws)

    def one() -> float:
        began = clock()
        with mode(name):
            loss = model(ids, labels=ids).loss
        with mode(ONEDNN if name == ONEDNN else DEFAULT):
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
        steps.zero_grad()
        loss.item()
        return clock() - began

    return one


def product_seconds(sizes: Sizes) -> Callable[[], float]:
    """Seconds of all products of a step with weights, forward and both gradients, and of nothing else."""
    draws = np.random.default_rng(0)

    @jax.jit
    def three(x: Any, weight: Any, slope: Any) -> tuple[Any, Any, Any]:
        return x @ weight, slope @ weight.T, x.T @ slope

    def drawn(*shape: int) -> Any:
        return jnp.asarray(draws.standard_normal(shape, np.float32))

    ready = [((drawn(n, i), drawn(i, o), drawn(n, o)), times) for (n, i, o), times in sizes.products().items()]

    def one() -> float:
        total = 0.0
        for arrays, times in ready:
            for _ in range(times):
                began = clock()
                jax.block_until_ready(three(*arrays))
                total += clock() - began
        return total

    return one


# --- writing ----------------------------------------------------------------------------------------------------------


class Ids:
    """A tokenizer of ids alone, none of which ends a document."""

    bos_id, pad_id, unk_id = -1, None, None

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size


def prompts(sizes: Sizes, rows: int) -> list[list[int]]:
    return np.random.default_rng(1).integers(1, sizes.config.vocab_size, (rows, sizes.prompt)).tolist()


def own_text(sizes: Sizes, params: dict[str, Any]) -> Callable[[int], list[list[int]]]:
    """rows -> ids, `new` of them."""
    keep, reading = layered_reading(int8=False, offload=None)  # as generate.load takes it
    several = layers_of(params)
    ends: dict[str, Any] = {}
    for name in params.keys() - several.keys():
        ends |= keep(name, {name: np.asarray(params[name])})
    apart: list[dict[str, Any]] = [{} for _ in range(sizes.config.n_layer)]
    for name, array in several.items():
        for n, layer in enumerate(apart):
            layer.update(keep(name, {name: np.asarray(array[n])}))
    vocabulary: Any = Ids(sizes.config.vocab_size)
    generator = Generator(Layered(ends, tuple(apart)), sizes.config, vocabulary, reading)
    greedy = Sampling(temperature=0.0)
    return lambda rows: generator.continuations(prompts(sizes, rows), sizes.new, greedy, [0] * rows)


def their_text(sizes: Sizes, params: dict[str, Any]) -> Callable[[int], list[list[int]]]:
    model = their_model(sizes, params).eval()

    def write(rows: int) -> list[list[int]]:
        ids = torch.tensor(prompts(sizes, rows))
        with torch.no_grad():
            found = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=sizes.new, do_sample=False, pad_token_id=0
            )
        return found[:, sizes.prompt :].tolist()

    return write


def timed(write: Callable[[int], Any], rows: int) -> Callable[[], float]:
    def one() -> float:
        began = clock()
        write(rows)
        return clock() - began

    return one


# --- the report -------------------------------------------------------------------------------------------------------


def contenders(sizes: Sizes, only: str | None) -> tuple[dict[str, Callable[[], float]], dict[str, float]]:
    """(name -> one round of it, in seconds; share of the greedy tokens that are those of transformers, by rows)."""
    params = {name: np.asarray(array) for name, array in init(sizes.config, 0).items()}
    made: dict[str, Callable[[], float]] = {}
    equal = {}
    if only != "generate":
        made = {f"train: {name}": their_step(sizes, params, name) for name in (DEFAULT, ONEDNN, BF16)}
        made["train: lowres, float32"] = own_step(sizes, params, "float32")
        made["train: products"] = product_seconds(sizes)
    if only != "train":
        ours = own_text(sizes, params)
        theirs = their_text(sizes, params)
        for rows in sizes.rows:
            equal[str(rows)] = float(np.mean(np.array(ours(rows)) == np.array(theirs(rows))))
            made[f"write {rows}: {DEFAULT}"] = timed(theirs, rows)
            made[f"write {rows}: lowres"] = timed(ours, rows)
    return made, equal


def targets(seconds: dict[str, float], sizes: Sizes) -> list[tuple[str, float, float]]:
    """(target, asked, measured) of what was measured."""
    rows = []

    def asked(what: str, least: float, over: str, under: str, factor: float = 1.0) -> None:
        if over in seconds and under in seconds:
            rows.append((what, least, factor * seconds[over] / seconds[under]))

    asked("training, float32: times transformers", TRAINING, f"train: {DEFAULT}", "train: lowres, float32")
    of_products = sum(6 * n * i * o * times for (n, i, o), times in sizes.products().items())
    whole = flops_a_token(sizes.config, sizes.config.n_ctx, True) * sizes.tokens
    asked("training, float32: share of the product rate", SHARE, "train: products", "train: lowres, float32",
          whole / of_products)  # fmt: skip
    for rows_ in sizes.rows:
        asked(f"writing, {rows_} at once: times transformers", WRITING, f"write {rows_}: {DEFAULT}",
              f"write {rows_}: lowres")  # fmt: skip
    return rows


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def report(result: dict[str, Any], sizes: Sizes) -> str:
    found = {
        kind: {name: pick(values) for name, values in result["seconds"].items()}
        for kind, pick in (("median", statistics.median), ("best", min))
    }
    best = {what: value for what, _, value in targets(found["best"], sizes)}
    verdicts = [
        [what, f">= {least:g}", f"{value:.2f}", f"{best[what]:.2f}", "met" if value >= least else "not met"]
        for what, least, value in targets(found["median"], sizes)
    ]
    rows = []
    for name, values in result["seconds"].items():
        median = found["median"][name]
        written = int(name.split()[1][:-1]) * sizes.new if name.startswith("write") else sizes.tokens
        spread = f"{1e3 * min(values):.0f} to {1e3 * max(values):.0f}"
        rows.append([name, f"{1e3 * median:.0f}", spread, f"{written / median:.0f}"])
    text = table(["target", "asked", "by medians", "by best rounds", "verdict"], verdicts)
    return text + "\n" + table(["one round", "median ms", "from, to", "tokens/s"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["train", "generate"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    if arguments.processor_time:
        global clock
        clock = time.process_time
    # JAX reads it at its first array
    os.environ.update(worker_environment(arguments.threads, "cpu", True, default_store()))
    torch.set_num_threads(arguments.threads)
    sizes = SMALL if arguments.small else Sizes()
    made, equal = contenders(sizes, arguments.only)
    seconds, loads = in_turn(made, arguments.rounds)
    result = {
        "processor": processor_name(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": arguments.threads,
        "clock": clock.__name__,
        "parameters": count(init(sizes.config, 0)),
        "load": loads,
        "equal_tokens": equal,
        "seconds": seconds,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        {key: value for key, value in result.items() if key not in ("seconds", "load")},
        f"load {min(loads)}-{max(loads)}",
    )
    print(report(result, sizes))


if __name__ == "__main__":
    main()
