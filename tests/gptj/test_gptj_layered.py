"""Layers read one after another: by the compiled kernels, and from the host's memory."""

import math
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from lowres.cli import app
from lowres.families.gptj import compiled, generate, huggingface, int8, lanes, layered, model
from lowres.families.gptj.checkpoints.loading import tensor_reader
from lowres.families.gptj.checkpoints.names import slots
from lowres.families.gptj.checkpoints.writing import Planned, write_weights
from lowres.families.gptj.config import MATRICES, shapes
from lowres.families.gptj.generate import Sampling
from lowres.families.gptj.model import Config, init
from lowres.kernels.load import Missing
from lowres.tokenizers.base import load_tokenizer

CONFIG = Config(310, n_ctx=32, n_layer=2, n_embd=96, n_head=2, rotary_dim=8)
"""Blocks of 32, and matrices whose outputs are no multiple of 64."""


@pytest.fixture(scope="module")
def folder(rooms, tmp_path_factory):
    """A checkpoint in bfloat16."""
    folder = tmp_path_factory.mktemp("layered")
    draw = np.random.default_rng(5)
    params = {name: np.asarray(array) for name, array in init(CONFIG, 3).items()}
    for name in params.keys() - set(MATRICES):
        params[name] = params[name] + draw.normal(0, 0.1, params[name].shape).astype(np.float32)
    params |= {name: 6 * params[name] for name in MATRICES}
    huggingface.save_lm(folder, params, CONFIG, load_tokenizer(rooms / "tokenizer"))
    planned = [Planned(slot.name, slot.shape) for slot in slots(CONFIG)]
    write_weights(folder, planned, "bfloat16", tensor_reader(params, CONFIG))
    return folder


def scores_of(generator):
    """What follows rows of different lengths, then what follows the token 7, then 11."""
    tokens = np.random.default_rng(0).integers(0, 300, (3, 32)).astype(np.int32)  # as a generator pads its prompts
    kept = generator.reading.empty_cache(generator.config, 3, 32)
    found = []
    for read, counts in [(tokens, [5, 8, 1]), (np.full((3, 1), 7), [1, 1, 1]), (np.full((3, 1), 11), [1, 1, 1])]:
        given = read.astype(np.int32), np.asarray(counts, np.int32)
        scores, kept = generator.reading.read_on(generator.params, *given, kept, generator.config)
        found.append(np.asarray(scores))
    return np.stack(found)


def on_device(params):
    return {name: jnp.asarray(array) for name, array in params.items()}


@pytest.fixture(scope="module")
def whole_scores(folder):
    """Of the whole model: {in 8 bits: scores}."""
    params, config, tokenizer = huggingface.load_lm(folder)
    both = {False: params, True: int8.whole(int8.quantise(params))}
    return {bits: scores_of(generate.Generator(on_device(one), config, tokenizer)) for bits, one in both.items()}


@pytest.fixture
def kernel(built_kernels):
    """The compiled kernel, built where an installation has not done so."""
    lanes.kernels.cache_clear()
    assert not isinstance(lanes.kernels(), Missing)


@pytest.fixture
def without_kernel(monkeypatch):
    monkeypatch.setattr(lanes, "kernels", lambda: Missing("no C compiler"))


@pytest.mark.parametrize("bits", [True, False])
def test_layers_from_the_hosts_memory_give_the_scores_of_the_whole(folder, whole_scores, bits):
    apart = generate.load_any(str(folder), int8=bits, offload="host")
    assert apart.reading.read_on is layered.read_on and isinstance(apart.params.layers[0]["ln_bias"], np.ndarray)
    want = whole_scores[bits]
    np.testing.assert_allclose(scores_of(apart), want, atol=2e-6 * np.abs(want).max())


def test_layers_are_kept_on_the_host_as_they_are_stored(folder):
    params = generate.load_any(str(folder), offload="host").params
    assert params.layers[0]["fc_in"].dtype == params.ends["wte"].dtype == jnp.bfloat16
    assert params.layers[0]["fc_in_bias"].dtype == np.float32 and "wte_int8" not in params.ends


@pytest.mark.parametrize("bits", [True, False])
def test_without_a_compiler_the_scores_are_those_of_the_whole_too(folder, whole_scores, without_kernel, bits):
    plain = generate.load_any(str(folder), int8=bits)
    assert plain.reading.read_on is layered.read_on
    np.testing.assert_allclose(scores_of(plain), whole_scores[bits], atol=2e-6 * np.abs(whole_scores[bits]).max())


@pytest.mark.parametrize("bits", [True, False])
def test_the_kernels_give_the_scores_of_the_whole(folder, whole_scores, kernel, bits):
    fast = generate.load_any(str(folder), int8=bits)
    assert fast.reading.read_on is compiled.read_on
    want = whole_scores[bits]
    np.testing.assert_allclose(scores_of(fast), want, atol=2e-6 * np.abs(want).max())
    assert np.abs(want - whole_scores[not bits]).max() > 1e-3 * np.abs(want).max() > 1e-3, "rounding is seen"


@pytest.mark.parametrize("bits", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 64, 1), (3, 128, 65), (9, 48, 200)])
def test_a_product_is_that_of_the_matrix_for_any_threads(kernel, monkeypatch, rows, inputs, outputs, bits):
    draw = np.random.default_rng(rows)
    x, matrix = draw.normal(size=(rows, inputs)).astype(np.float32), draw.normal(size=(inputs, outputs))
    matrix[:, 0] = 0
    codes, scales = int8.quantised(matrix)
    packed = lanes.Packed.of(codes, scales) if bits else lanes.Packed.of(matrix)
    used = int8.dequantised(codes, scales, jnp.float32) if bits else matrix.astype(np.float32)
    want = x.astype(np.float64) @ np.asarray(used, np.float64)
    monkeypatch.setattr(lanes, "ALONE", 0)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(lanes.products([(x, packed), (x, packed)])[1])
    np.testing.assert_allclose(found[0], want, atol=1e-5)
    assert (found[0] == found[1]).all() and (found[0][:, 0] == 0).all()
    alone = np.concatenate([lanes.products([(row[None], packed)])[0] for row in x])
    assert (alone == found[0]).all(), "a row does not depend on its company"


@pytest.mark.parametrize("size", [8, 20, 64])
def test_attention_is_that_of_the_model_over_many_keys_and_any_threads(kernel, monkeypatch, size):
    heads, room, lengths = 2, 200, [150, 64, 1, 129]
    draw = np.random.default_rng(size)
    keys, values = draw.normal(0, 3, (2, len(lengths), heads, room, size)).astype(np.float32)
    owners = np.array([0, 0, 1, 2, 3])
    places = np.array([lengths[0] - 2, *(length - 1 for length in lengths)])
    q = draw.normal(size=(len(owners), heads * size)).astype(np.float32)
    monkeypatch.setattr(lanes, "ALONE", 0)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(compiled.attend(q, keys, values, owners, places))
    assert (found[0] == found[1]).all()
    allowed = jnp.arange(room) <= places[:, None, None, None]
    want = model.attend(q.reshape(len(q), heads, 1, size), keys[owners], values[owners], allowed)
    np.testing.assert_allclose(found[0].reshape(want.shape), want, atol=2e-5)  # scores of 30, values of 10


@pytest.mark.parametrize("bits", [True, False])
def test_a_row_read_by_the_kernels_does_not_depend_on_its_company(folder, kernel, bits):
    fast = generate.load_any(str(folder), int8=bits)
    tokens = np.random.default_rng(0).integers(0, 300, (3, 8)).astype(np.int32)
    counts = np.array([5, 8, 1], np.int32)

    def read(rows):
        empty = compiled.empty_cache(fast.config, len(counts[rows]), 32)
        scores, kept = compiled.read_on(fast.params, tokens[rows], counts[rows], empty, fast.config)
        one = np.ones(len(counts[rows]), np.int32)
        return scores, compiled.read_on(fast.params, tokens[rows, :1], one, kept, fast.config)[0]

    together = read(slice(0, 3))
    for row in range(3):
        alone = read(slice(row, row + 1))
        assert all((one[0] == all_of_them[row]).all() for one, all_of_them in zip(alone, together, strict=True))


def test_a_text_by_the_kernel_goes_on_beyond_the_context(folder, kernel):
    starts, seeds = [[3, 40, 5, 9], [7], [250, 3]], [0, 0, 0]
    fast = generate.load_any(str(folder), int8=True)
    new = fast.continuations(starts, 40, Sampling(0.0), seeds)[0]
    room = 32 - len(starts[0]) + 1
    halves = [(starts[0] + new[:room])[-16:], *starts[1:]]
    assert len(new) == 40 and new[room : room + 8] == fast.continuations(halves, 8, Sampling(0.0), seeds)[0]


def test_the_command_writes_with_layers_on_the_host(folder, kernel):
    prompts = ["The lake", "The market of Riga", "A"]
    words = ["gptj", "generate", str(folder), *(word for prompt in prompts for word in ("--prompt", prompt))]
    done = CliRunner().invoke(app, [*words, "--tokens", "8", "--temperature", "0", "--int8", "--offload", "host"])
    texts = generate.load_any(str(folder), int8=True).generate_batch(prompts, 8, Sampling(0.0), [0, 0, 0])
    assert done.stdout == "".join(f"{text}\n" for text in texts)
    refused = CliRunner().invoke(app, [*words, "--offload", "disk"])
    assert refused.exit_code == 1 and "--offload is 'disk'; it is 'host'" in str(refused.exception)


class Drawn:
    """A checkpoint of random weights, drawn when they are read."""

    def __init__(self, config):
        self.facts = {slot.name: slot for slot in slots(config)}

    def tensor(self, name):
        slot = self.facts[name]
        return np.resize(np.random.default_rng(0).normal(0, 0.02, 10_007).astype(np.float32), slot.shape)


@pytest.mark.parametrize("keep", [compiled.keep, layered.keep_on_host])
def test_reading_holds_the_8_bits_and_twice_the_largest_tensor(keep):
    config = Config(8_000, n_ctx=32, n_layer=2, n_embd=512, n_head=4, rotary_dim=8)
    largest, bits = 4 * 8_000 * 512, sum(math.prod(shape) for shape in shapes(config).values())
    tracemalloc.start()
    params = layered.load_layered(Drawn(config), config, "drawn", True, keep)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert largest < most < 1.07 * bits + 2 * largest < 4 * bits and len(params.layers) == 2
