"""Layers read one after another: in 8 bits by the compiled kernel, and from the host's memory."""

import numpy as np
import pytest

from lowres.families.gptj import compiled, generate, huggingface, int8, layered
from lowres.families.gptj.checkpoints.loading import tensor_reader
from lowres.families.gptj.checkpoints.names import slots
from lowres.families.gptj.checkpoints.writing import Planned, write_weights
from lowres.families.gptj.config import MATRICES
from lowres.families.gptj.generate import Sampling
from lowres.families.gptj.model import Config, init
from lowres.kernels.load import Missing
from lowres.tokenizers.base import load_tokenizer

GREEDY = Sampling(temperature=0.0)
PROMPTS = ["The lake", "The market of Riga", "A"]


@pytest.fixture(scope="module")
def params():
    """Of two layers, float32; a width of 96 has blocks of 32, and the vocabulary is no multiple of 64."""
    config = Config(310, n_ctx=64, n_layer=2, n_embd=96, n_head=2, rotary_dim=8)
    drawn = np.random.default_rng(5)
    arrays = {name: np.asarray(array) for name, array in init(config, 3).items()}
    return {
        n: 6 * a if n in MATRICES else a + drawn.normal(0, 0.1, a.shape).astype(np.float32) for n, a in arrays.items()
    }


@pytest.fixture(scope="module")
def folder(params, rooms, tmp_path_factory):
    """Its checkpoint, in bfloat16."""
    folder = tmp_path_factory.mktemp("layered")
    config = Config(310, n_ctx=64, n_layer=2, n_embd=96, n_head=2, rotary_dim=8)
    huggingface.save_lm(folder, params, config, load_tokenizer(rooms / "tokenizer"))
    planned = [Planned(slot.name, slot.shape) for slot in slots(config)]
    write_weights(folder, planned, "bfloat16", tensor_reader(params, config))
    return folder


def stacked(folder, in_int8):
    """The whole generator, as it was read before."""
    whole = generate.load(folder)
    params = int8.quantise(whole.params) if in_int8 else whole.params
    return generate.Generator(params, whole.config, whole.tokenizer)


def scores_of(generator):
    """What follows rows of different lengths, then what follows four times the token 7, then 11."""
    tokens = np.random.default_rng(0).integers(0, 300, (3, 32)).astype(np.int32)
    counts = np.array([5, 32, 9], np.int32)
    kept = generator.reading.empty_cache(generator.config, 3, 64)
    found = []
    for read, count in [
        (tokens, counts),
        *[(np.full((3, 1), token, np.int32), np.ones(3, np.int32)) for token in (7, 11)],
    ]:
        scores, kept = generator.reading.read_on(generator.params, read, count, kept, generator.config)
        found.append(np.asarray(scores))
    return np.stack(found)


@pytest.fixture
def compiled_kernel():
    if isinstance(compiled.kernel(), Missing):
        pytest.skip(compiled.kernel().why)


@pytest.mark.parametrize("path", ["kernel", "int8", "host", "int8 host"])
def test_layers_apart_are_the_whole(folder, path, request, monkeypatch):
    if path == "kernel":
        request.getfixturevalue("compiled_kernel")
    if path == "int8":
        monkeypatch.setattr(compiled, "kernel", lambda: Missing("no C compiler"))
    apart = generate.load_any(str(folder), int8="host" != path, offload="host" if "host" in path else None)
    assert apart.reading.read_on is (compiled if path == "kernel" else layered).read_on
    got, want = scores_of(apart), scores_of(stacked(folder, path != "host"))
    np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())
    assert np.abs(want).max() > 1
