"""GPT-J in 8 bits beside bfloat16: bytes, error of weights and logits, loss.

python benchmarks/gptj_int8.py FOLDER TEXT      # a language model's folder, and held-out text
"""

import argparse
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lowres.families.gptj.data import pack, rows_in_order
from lowres.families.gptj.huggingface import load_lm
from lowres.families.gptj.int8 import quantise, whole
from lowres.families.gptj.model import MATRICES, hidden, logits
from lowres.families.gptj.train import split_rows

ROWS = 64


def rms(array):
    return math.sqrt(float(np.mean(np.square(np.asarray(array, np.float64)))))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("text", type=Path)
    arguments = parser.parse_args()
    params, config, tokenizer = load_lm(arguments.folder)
    paragraphs = [part for part in arguments.text.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    rows = rows_in_order(pack(tokenizer.encode(paragraphs), tokenizer.bos_id), config.n_ctx, ROWS)

    @partial(jax.jit, static_argnames=("dtype",))
    def scored(params, dtype):
        inputs, targets, weights, segments = split_rows(rows, tokenizer.bos_id, True)
        scores = logits(params, hidden(params, inputs, config, segments, jnp.dtype(dtype)))
        nats = jax.nn.logsumexp(scores, -1) - jnp.take_along_axis(scores, targets[..., None], -1)[..., 0]
        return scores, (nats * weights).sum() / weights.sum()

    bf16 = {name: jnp.asarray(array, jnp.bfloat16) for name, array in params.items()}
    exact, loss = scored(params, "float32")
    print(f"{config.describe()}, {sum(a.size for a in params.values()):,} parameters, {rows.size:,} tokens of text")
    print(f"{'':28}{'bytes':>14}{'weights, rel. RMSE':>20}{'logits, rel. RMSE':>19}{'nats a token':>14}")
    stored = {f"int8, blocks of {block}": quantise(params, block) for block in (32, 64, 128)}
    kinds = {"float32": (params, "float32"), "bfloat16": (bf16, "bfloat16"), "bfloat16 weights": (bf16, "float32")}
    kinds |= {name: (tree, "float32") for name, tree in stored.items()}
    for name, (tree, dtype) in kinds.items():
        scores, nats = scored(tree, dtype)
        back = whole(tree)
        error = math.sqrt(sum(np.square(np.asarray(back[m], np.float64) - params[m]).sum() for m in MATRICES))
        error /= math.sqrt(sum(np.square(params[m].astype(np.float64)).sum() for m in MATRICES))
        size = sum(array.nbytes for array in tree.values())
        print(f"{name:28}{size:14,}{error:20.5f}{rms(scores - exact) / rms(exact):19.5f}{float(nats):14.5f}")
    print(f"(float32: {float(loss):.5f} nats)")


if __name__ == "__main__":
    main()
