"""GPT-J-6B at its exact size, random weights in 8 bits, writing on a CPU: seconds a token and peak memory.

python benchmarks/gptj_generate_6b.py [--threads 1 2] [--path kernel|xla] [--layers 28] [--json FILE]
python benchmarks/gptj_generate_6b.py --write FOLDER      # a checkpoint of random weights, bfloat16, shards of 2 GB
lowres gptj generate FOLDER --int8 --prompt ...           # which is then read and rounded tensor by tensor

The first form makes the 8 bits matrix by matrix and never holds floats of more than one. A round reads a prompt and
then writes token by token, each time the likeliest; rounds of different threads take turns. --at N: the cache holds N
tokens of noise before. Peak memory is the process's (ru_maxrss).
"""

import argparse
import json
import os
import resource
import statistics
import time
from dataclasses import replace
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the kernel; XLA takes the most")
parser.add_argument("--path", choices=["kernel", "xla"], default="kernel", help="the compiled kernel, or XLA alone")
parser.add_argument("--layers", type=int, default=28)
parser.add_argument("--rows", type=int, default=1, help="texts that are written at once")
parser.add_argument("--prompt", type=int, default=32, help="its tokens")
parser.add_argument("--tokens", type=int, default=16, help="new ones")
parser.add_argument("--at", type=int, default=0, help="tokens that were read before the prompt")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--json", type=Path)
parser.add_argument("--write", type=Path)
arguments = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = str(max(arguments.threads))  # before numpy and XLA are started
os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):  # XLA asks for nothing else
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: max(arguments.threads)])

import numpy as np  # noqa: E402

from lowres.families.gptj import compiled, layered  # noqa: E402
from lowres.families.gptj.checkpoints.configuration import GPTJ_6B, hf_config  # noqa: E402
from lowres.families.gptj.checkpoints.names import slots  # noqa: E402
from lowres.families.gptj.checkpoints.writing import Planned, write_weights  # noqa: E402
from lowres.families.gptj.config import MATRICES, shapes  # noqa: E402
from lowres.families.gptj.generate import Reading  # noqa: E402


class Drawn:
    """A checkpoint of random weights; tensors are drawn when they are read."""

    kind = "random"

    def __init__(self, config):
        self.config = config
        self.facts = {slot.name: slot for slot in slots(config)}

    def tensor(self, name):
        """Normal with SD .02; a tensor repeats a million draws of its own."""
        slot = self.facts[name]
        if slot.ours not in MATRICES:
            return (np.ones if slot.ours.endswith("scale") else np.zeros)(slot.shape, np.float32)
        seed = sorted(self.facts).index(name)
        drawn = np.random.default_rng(seed).normal(0, 0.02, 1_000_003).astype(np.float32)
        return np.resize(drawn, slot.shape)


def write(folder, config):
    import ml_dtypes  # noqa: F401

    folder.mkdir(parents=True)
    read = Drawn(config).tensor
    write_weights(folder, [Planned(slot.name, slot.shape) for slot in slots(config)], "bfloat16", read, 2_000_000_000)
    (folder / "config.json").write_text(json.dumps(hf_config(config, 0, None, True)))
    from tokenizers import pre_tokenizers

    letters = sorted([*pre_tokenizers.ByteLevel.alphabet(), "<|endoftext|>"])
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(params, config, reading, threads):
    """Seconds of the prompt, and of each new token by the clock and by the processor."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # the kernel asks at every product
    rows = arguments.rows
    cache = reading.empty_cache(config, rows, arguments.at + arguments.prompt + arguments.tokens)
    if arguments.at:
        for kept in (cache.keys, cache.values):
            kept[..., : arguments.at, :] = np.random.default_rng(2).normal(size=config.head_dim)
        cache = cache._replace(lengths=np.full(rows, arguments.at, np.int32))
    tokens = np.random.default_rng(1).integers(0, 50257, (rows, arguments.prompt)).astype(np.int32)
    begun = time.perf_counter(), time.process_time()
    scores, cache = reading.read_on(params, tokens, np.full(rows, arguments.prompt, np.int32), cache, config)
    np.asarray(scores)
    taken = {"prompt_s": time.perf_counter() - begun[0], "prompt_processor_s": time.process_time() - begun[1]}
    walls, processors = [], []
    for _ in range(arguments.tokens):
        wall, processor = time.perf_counter(), time.process_time()
        following = np.asarray(scores).argmax(-1)[:, None].astype(np.int32)
        scores, cache = reading.read_on(params, following, np.ones(rows, np.int32), cache, config)
        np.asarray(scores)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return {"threads": threads, **taken, "token_s": walls, "token_processor_s": processors, "load": os.getloadavg()[0]}


def table(rounds, threads):
    """A line of the results page: medians over all tokens of all rounds, with the least and the most."""
    mine = [one for one in rounds if one["threads"] == threads]
    walls, processors = (sorted(t for one in mine for t in one[key]) for key in ("token_s", "token_processor_s"))
    prompt, busy = (min(one[key] for one in mine) for key in ("prompt_s", "prompt_processor_s"))
    spread = [f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})" for found in (walls, processors)]
    loads = f"{min(one['load'] for one in mine):.1f} to {max(one['load'] for one in mine):.1f}"
    return f"| {threads} | {spread[0]} | {spread[1]} | {prompt:.1f} | {busy:.1f} | {loads} |"


def main():
    config = replace(GPTJ_6B, n_layer=arguments.layers)
    if arguments.write:
        return write(arguments.write, config)
    room = compiled if arguments.path == "kernel" else layered
    keep = compiled.keep if arguments.path == "kernel" else layered.keep_on_device
    begun = time.process_time()
    params = layered.load_layered(Drawn(config), config, "random", True, keep)
    numbers = sum(int(np.prod(shape)) for shape in shapes(config).values())
    made = {"parameters": numbers, "made_processor_s": time.process_time() - begun, "made_peak_bytes": peak()}
    print(made, flush=True)
    rounds = []
    for _ in range(arguments.rounds):
        for threads in arguments.threads:
            rounds.append(measured(params, config, Reading(room.empty_cache, room.read_on), threads))
    result = {**vars(arguments), "json": None, "write": None, **made, "peak_bytes": peak(), "rounds": rounds}
    print(f"{arguments.path}, {arguments.layers} layers, {arguments.at} tokens before: peak {peak() / 1e9:.2f} GB")
    print("| threads | s a token (least to most) | processor s a token | prompt s | processor s | load |")
    print("|---|---|---|---|---|---|")
    for threads in arguments.threads:
        print(table(rounds, threads))
    if arguments.json:
        arguments.json.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
