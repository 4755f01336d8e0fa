from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowres.errors import DataError, ShapeError
from lowres.families.gptj import huggingface
from lowres.families.gptj.checkpoints.loading import tensor_reader
from lowres.families.gptj.model import MATRICES, Config, count, hidden, init, logits, shapes
from lowres.guard import guard_torchvision
from lowres.tokenizers.base import load_tokenizer

CONFIG = Config(vocab_size=300, n_ctx=24, n_layer=3, n_embd=32, n_head=4, rotary_dim=6)


def rough(config, seed=1):
    """Weights large enough that every part of the model shows in the logits, biases and scales included."""
    draw = np.random.default_rng(seed)
    return {name: (0.3 * draw.standard_normal(shape)).astype(np.float32) for name, shape in shapes(config).items()}


@pytest.fixture(scope="module")
def reference(rooms, tmp_path_factory):
    """(torch's GPT-J, our weights, its folder): the same model on both sides."""
    guard_torchvision()
    from transformers import GPTJForCausalLM

    folder = tmp_path_factory.mktemp("hf")
    params = rough(CONFIG)
    huggingface.save_lm(folder, params, CONFIG, load_tokenizer(rooms / "tokenizer"))
    return GPTJForCausalLM.from_pretrained(folder).eval(), params, folder


def torch_logits(model, tokens, mask=None):
    import torch

    with torch.no_grad():
        attention = None if mask is None else torch.tensor(mask)
        positions = None if mask is None else (attention.cumsum(1) - 1).clamp(min=0)
        return model(torch.tensor(tokens), attention_mask=attention, position_ids=positions).logits.numpy()


@partial(jax.jit, static_argnames=("config",))
def jitted_logits(params, tokens, segments, config):
    return logits(params, hidden(params, tokens, config, segments))


def our_logits(params, tokens, segments=None, config=CONFIG):
    return np.asarray(jitted_logits(params, tokens, segments, config))


def test_logits_agree_with_transformers(reference):
    model, params, _ = reference
    tokens = np.random.default_rng(0).integers(0, 300, (3, 24))
    theirs = torch_logits(model, tokens)
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(our_logits(params, tokens), theirs, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_agrees_with_transformers(reference, side):
    model, params, _ = reference
    tokens = np.random.default_rng(0).integers(0, 300, (2, 24))
    mask = np.ones((2, 24), np.int64)
    mask[0, :7] = 0
    if side == "right":
        mask = mask[:, ::-1].copy()
    theirs = torch_logits(model, tokens, mask)
    ours = our_logits(params, tokens, jnp.asarray(mask))
    np.testing.assert_allclose(ours[mask == 1], theirs[mask == 1], atol=1e-5)


def test_packed_documents_do_not_see_each_other():
    params = rough(CONFIG)
    tokens = np.random.default_rng(0).integers(0, 300, (1, 24))
    segments = np.repeat([[0, 1]], 12, axis=1).reshape(1, 24)
    apart = our_logits(params, tokens, jnp.asarray(np.sort(segments)))
    np.testing.assert_allclose(apart[:, 12:], our_logits(params, tokens[:, 12:]), atol=1e-5)
    assert np.abs(apart[:, 12:] - our_logits(params, tokens)[:, 12:]).max() > 1e-2


BOS = 2
DOCUMENTS = (9, 1, 6, 8)
"""Lengths that fill a row of 24; each begins with BOS."""


def packed_row():
    """(25,) tokens: four documents and the mark after the last; and their segments."""
    tokens = np.random.default_rng(0).integers(3, 300, 25)
    starts = np.cumsum((0, *DOCUMENTS))
    tokens[starts] = BOS
    return tokens, np.repeat(np.arange(4), DOCUMENTS), starts


def test_packed_documents_agree_with_each_alone_in_transformers(reference):
    model, params, _ = reference
    tokens, segments, starts = packed_row()
    ours = our_logits(params, tokens[None, :-1], jnp.asarray(segments[None]))[0]
    for start, end in zip(starts, starts[1:], strict=False):
        np.testing.assert_allclose(ours[start:end], torch_logits(model, tokens[None, start:end])[0], atol=1e-5)


def test_gradients_of_packed_and_padded_rows_agree_with_transformers(reference):
    """Torch reads each document and each row's real tokens alone; ours reads them packed and padded."""
    import torch

    from lowres.families.gptj.train import Hyper, lm_loss

    model, params, _ = reference
    tokens, _, starts = packed_row()
    short = np.random.default_rng(1).integers(3, 300, 11)
    left, right = np.full((2, 25), -1)
    left[-11:] = right[:11] = short
    rows = np.stack([tokens, left, right])
    pieces = [tokens[start : end + 1] for start, end in zip(starts, starts[1:], strict=False)] + [short, short]
    model.zero_grad()
    total = sum(
        torch.nn.functional.cross_entropy(model(torch.tensor(piece[None, :-1])).logits[0], torch.tensor(piece[1:]))
        * (len(piece) - 1)
        for piece in pieces
    ) / sum(len(piece) - 1 for piece in pieces)
    total.backward()
    hyper = Hyper(0.0, 0.99, 0.0, 0.0, True, "float32")
    loss = jax.jit(jax.value_and_grad(partial(lm_loss, bos_id=BOS, config=CONFIG, hyper=hyper, key=None)))
    value, slopes = loss(params, rows)
    assert float(value) == pytest.approx(total.item(), rel=1e-5)
    theirs = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    read = tensor_reader(slopes, CONFIG)
    for name, slope in theirs.items():
        assert np.abs(slope).max() > 1e-4, name
        np.testing.assert_allclose(read(name), slope, rtol=1e-3, atol=1e-5 * np.abs(slope).max(), err_msg=name)


def test_the_future_is_not_seen():
    params, tokens = rough(CONFIG), np.random.default_rng(0).integers(0, 300, (1, 24))
    changed = tokens.copy()
    changed[0, 20] = (changed[0, 20] + 1) % 300
    before, after = our_logits(params, tokens), our_logits(params, changed)
    np.testing.assert_array_equal(before[:, :20], after[:, :20])
    assert np.abs(before[:, 20:] - after[:, 20:]).max() > 1e-3


def test_a_deep_model_scanned_equals_one_unrolled():
    """Nine layers are scanned, three unrolled; layers that write nothing to the stream change nothing."""
    deep = Config(vocab_size=300, n_ctx=24, n_layer=9, n_embd=32, n_head=4, rotary_dim=6)
    params, tokens = rough(CONFIG), np.random.default_rng(0).integers(0, 300, (1, 24))
    longer = {name: params[name] for name in params}
    for name, shape in shapes(deep).items():
        if shape[0] == 9 and params[name].shape != shape:
            longer[name] = np.concatenate([params[name], np.zeros((6, *shape[1:]), np.float32)])
    np.testing.assert_allclose(our_logits(longer, tokens, config=deep), our_logits(params, tokens), atol=1e-5)


def test_a_folder_reads_back_as_it_was_written(reference):
    _, params, folder = reference
    assert huggingface.read_config(folder) == CONFIG
    read = huggingface.read_params(folder, CONFIG)
    assert set(read) == set(params)
    for name, array in params.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_folder_that_transformers_wrote_is_read(reference, tmp_path):
    model, params, _ = reference
    model.save_pretrained(tmp_path)
    assert huggingface.read_config(tmp_path) == CONFIG
    for name, array in huggingface.read_params(tmp_path, CONFIG).items():
        np.testing.assert_array_equal(array, params[name])


def test_parameters_are_counted_as_transformers_does(reference):
    model, params, _ = reference
    assert count(params) == sum(p.numel() for p in model.parameters())
    assert count(init(CONFIG, 0)) == count(params)


def test_gptj_6b_has_the_size_that_is_reported():
    full = Config(vocab_size=50400, n_ctx=2048, n_layer=28, n_embd=4096, n_head=16, rotary_dim=64)
    assert sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes(full).values()) == 6_050_882_784


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(DataError, match="'gpt2'"):
        huggingface.read_config(tmp_path)


def test_a_missing_tensor_is_named(reference, tmp_path):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(reference[2] / "model.safetensors")
    del tensors["transformer.h.1.mlp.fc_in.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"transformer\.h\.1\.mlp\.fc_in\.bias"):
        huggingface.read_params(tmp_path, CONFIG)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="n_head"):
        Config(vocab_size=300, n_ctx=24, n_layer=3, n_embd=30, n_head=4, rotary_dim=6)
    with pytest.raises(ShapeError, match="rotary_dim"):
        Config(vocab_size=300, n_ctx=24, n_layer=3, n_embd=32, n_head=4, rotary_dim=16)


def test_random_weights_depend_on_the_seed_alone():
    one, again, other = init(CONFIG, 5), init(CONFIG, 5), init(CONFIG, 6)
    for name in MATRICES:
        np.testing.assert_array_equal(one[name], again[name])
        assert np.abs(np.asarray(one[name]) - np.asarray(other[name])).max() > 0
    assert jax.tree.all(jax.tree.map(lambda a: a.dtype == jnp.float32, one))
