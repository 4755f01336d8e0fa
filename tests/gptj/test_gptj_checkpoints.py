"""Each layout is built small by its published rules, not by our reader's tables, and read back."""

import json
import shutil
import tracemalloc
from functools import partial

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lowres.errors import DataError
from lowres.families.gptj import huggingface
from lowres.families.gptj.checkpoints.configuration import GPTJ_6B, hf_config
from lowres.families.gptj.checkpoints.convert import convert, info
from lowres.families.gptj.checkpoints.loading import arrays_of, tensor_reader
from lowres.families.gptj.checkpoints.mesh import leaf_names
from lowres.families.gptj.checkpoints.names import slots
from lowres.families.gptj.checkpoints.opening import open_checkpoint
from lowres.families.gptj.checkpoints.writing import Planned, write_safetensors, write_weights
from lowres.families.gptj.model import Config, hidden, logits, shapes
from lowres.guard import guard_torchvision

CONFIG = Config(vocab_size=304, n_ctx=24, n_layer=12, n_embd=32, n_head=4, rotary_dim=6)
TOKENS = np.random.default_rng(0).integers(0, 304, (2, 12))
SHARDS, PIECES = 4, 16


def rough(config, seed=1):
    draw = np.random.default_rng(seed)
    return {name: (0.2 * draw.standard_normal(shape)).astype(np.float32) for name, shape in shapes(config).items()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(torch's GPT-J, our arrays, a folder of one model.safetensors)."""
    guard_torchvision()
    import torch
    from transformers import GPTJConfig, GPTJForCausalLM

    sizes = dict(vocab_size=304, n_positions=24, n_embd=32, n_layer=12, n_head=4, rotary_dim=6, bos_token_id=2)
    model = GPTJForCausalLM(GPTJConfig(**sizes, eos_token_id=2)).eval()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draw))
    folder = tmp_path_factory.mktemp("hf") / "model"
    model.save_pretrained(folder)
    return model, huggingface.read_params(folder, CONFIG), folder


def logits_of(model):
    import torch

    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.float().numpy()


@partial(jax.jit, static_argnames=("config",))
def ours(params, config):
    return logits(params, hidden(params, TOKENS, config))


def read(folder, **options):
    found = open_checkpoint(str(folder), **options)
    assert not found.faults, found.faults
    return arrays_of(found.tensors, found.config, str(folder))


# --- layouts ---------------------------------------------------------------------------------------------------------


def as_torch(model, folder, sharded):
    """pytorch_model.bin of an old transformers, with its buffers."""
    import torch

    state = dict(model.state_dict())
    for i in range(CONFIG.n_layer):
        state[f"transformer.h.{i}.attn.bias"] = torch.tril(torch.ones(24, 24, dtype=torch.bool))[None, None]
        state[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e9)
    folder.mkdir()
    model.config.save_pretrained(folder)
    if not sharded:
        torch.save(state, folder / "pytorch_model.bin")
        return
    where = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(state)}
    for file in set(where.values()):
        torch.save({name: state[name] for name in state if where[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def as_mesh(params, folder, full, dtype=np.float32):
    """A step of mesh-transformer-jax: parameters sorted by module name, cut over SHARDS, in PIECES files each."""
    draw = np.random.default_rng(5)

    def shares(total):
        parts = draw.standard_normal((SHARDS, *total.shape)).astype(np.float32)
        return parts - parts.mean(0) + total / SHARDS

    def layer_norm(scale, bias):
        noise = draw.standard_normal((SHARDS, 2, len(scale)))
        noise[0] = bias, scale
        return {"offset": noise[:, 0], "scale": noise[:, 1]}

    modules = {}
    biases = draw.standard_normal((SHARDS, params["wte"].shape[1])).astype(np.float32)
    modules["embedding_shard/~/linear"] = {
        "w": np.split(params["wte"] - biases.sum(0), SHARDS, axis=0),
        "b": biases,
    }
    for i in range(len(params["q"])):
        of = {name: params[name][i] for name in params if len(params[name]) == len(params["q"])}
        modules |= {
            f"layer_{i}/~/linear": {"w": np.split(of["q"], SHARDS, axis=1)},
            f"layer_{i}/~/linear_1": {"w": np.split(of["v"], SHARDS, axis=1)},
            f"layer_{i}/~/linear_2": {"w": np.split(of["k"], SHARDS, axis=1)},
            f"layer_{i}/~/linear_3": {"w": np.split(of["out"], SHARDS, axis=0)},
            f"layer_{i}/~/linear_4": {
                "w": np.split(of["fc_in"], SHARDS, axis=1),
                "b": np.split(of["fc_in_bias"], SHARDS),
            },
            f"layer_{i}/~/linear_5": {"w": np.split(of["fc_out"], SHARDS, axis=0), "b": shares(of["fc_out_bias"])},
            f"layer_{i}/~/replicated_layer_norm": layer_norm(of["ln_scale"], of["ln_bias"]),
        }
    modules["projection_shard/~/linear"] = {
        "w": np.split(params["head"], SHARDS, axis=1),
        "b": np.split(params["head_bias"], SHARDS),
    }
    modules["projection_shard/~/replicated_layer_norm"] = layer_norm(params["ln_f_scale"], params["ln_f_bias"])
    for shard in range(SHARDS):
        leaves = [modules[module][name][shard] for module in sorted(modules) for name in sorted(modules[module])]
        leaves = [np.asarray(leaf, dtype) for leaf in leaves]
        moments = [np.full(leaf.shape, 7.0, np.float32) for leaf in leaves]
        state = [np.int32(9), *moments, *moments, np.int32(9)] if full else []
        state += [*leaves, np.int32(9)]
        (folder / f"shard_{shard}").mkdir(parents=True)
        size, rest = divmod(len(state), PIECES)
        for piece in range(PIECES):
            start = piece * size + min(piece, rest)
            some = state[start : start + size + (piece < rest)]
            np.savez(folder / f"shard_{shard}" / f"{piece}.npz", *some)
    return folder


MESH_CONFIG = {"layers": 12, "d_model": 32, "n_heads": 4, "n_vocab": 300, "pe_rotary_dims": 6, "seq": 24}


def with_config(folder):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(MESH_CONFIG | {"pe": "rotary", "norm": "layernorm"}))
    return folder


def quantised(matrix, code):
    """hivemind's: blocks of 4096 of the flattened matrix, each over its greatest magnitude, nearest value's code."""
    flat = matrix.reshape(-1)
    blocks = np.pad(flat, (0, -len(flat) % 4096)).reshape(-1, 4096)
    absmax = np.abs(blocks).max(1)
    scaled = (blocks / absmax[:, None]).reshape(-1)[: len(flat)]
    return np.abs(scaled[:, None] - code).argmin(1).astype(np.uint8).reshape(matrix.shape), absmax


def as_eight_bit(folder, source, target, torch_file):
    code = np.sort(np.tanh(np.linspace(-2, 2, 256))).astype(np.float32) / np.float32(np.tanh(2))
    state = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if tensor.ndim < 2:
            state[name] = tensor
            continue
        stem = name.removesuffix(".weight")
        state[name], state[f"{stem}.absmax"] = quantised(tensor, code)
        state[f"{stem}.code"] = code
    target.mkdir()
    shutil.copy(source / "config.json", target)
    if torch_file:
        import torch

        torch.save({name: torch.tensor(array) for name, array in state.items()}, target / "pytorch_model.bin")
    else:
        save_file(state, target / "model.safetensors")
    return target


# --- ways in ---------------------------------------------------------------------------------------------------------


def test_every_float_layout_gives_the_logits_of_torch(reference, tmp_path):
    model, params, folder = reference
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    as_torch(model, tmp_path / "bin", sharded=False)
    as_torch(model, tmp_path / "bins", sharded=True)
    as_mesh(params, with_config(tmp_path / "slim"), full=False)
    as_mesh(params, with_config(tmp_path / "full") / "step_9", full=True)
    wanted = logits_of(model)
    assert np.abs(wanted).max() > 0.5
    for name in ("sharded", "bin", "bins", "slim", "full"):
        np.testing.assert_allclose(ours(read(tmp_path / name), CONFIG), wanted, atol=1e-5, err_msg=name)


def test_a_mesh_checkpoint_is_read_from_a_url(reference, tmp_path):
    import fsspec

    local = as_mesh(reference[1], tmp_path / "step_7", full=False, dtype=ml_dtypes.bfloat16)
    fsspec.filesystem("memory").put(str(local), "/bucket/run/step_7", recursive=True)
    config = with_config(tmp_path / "elsewhere") / "config.json"
    from_url, from_folder = read("memory://bucket/run", config=config), read(local, config=config)
    for name, array in from_url.items():
        np.testing.assert_array_equal(array, from_folder[name])
    q = reference[1]["q"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(from_url["q"], q)


@pytest.mark.parametrize("torch_file", [True, False])
def test_eight_bits_are_dequantised(reference, tmp_path, torch_file):
    model, params, folder = reference
    eight = as_eight_bit(folder, folder, tmp_path / "eight", torch_file)
    read_back = read(eight)
    assert 0 < np.abs(read_back["wte"] - params["wte"]).max() < 0.01
    np.testing.assert_array_equal(read_back["fc_in_bias"], params["fc_in_bias"])
    lines, faults = info(str(eight))
    assert not faults and "8 bits in blocks of 4096" in lines[0] and "uint8 9" in lines[3]
    convert(str(eight), tmp_path / "whole")
    np.testing.assert_allclose(loaded_logits(tmp_path / "whole"), ours(read_back, CONFIG), atol=1e-5)


def loaded_logits(folder):
    from transformers import GPTJForCausalLM

    return logits_of(GPTJForCausalLM.from_pretrained(folder).eval())


# --- the way out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "shard_size"), [("float32", "5GB"), ("bfloat16", "100KB"), ("float16", "70KB")])
def test_what_is_written_loads_in_transformers_with_equal_logits(reference, tmp_path, dtype, shard_size):
    import torch
    from transformers import GPTJForCausalLM

    model, params, _ = reference
    source = as_mesh(params, with_config(tmp_path / "mesh"), full=False)
    (line,) = convert(str(source), tmp_path / "out", dtype, shard_size)
    assert dtype in line
    files = list((tmp_path / "out").glob("*.safetensors"))
    assert len(files) == 1 if shard_size == "5GB" else all(file.stat().st_size < 110_000 for file in files)
    loaded = GPTJForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.dtype == getattr(torch, dtype)
    unit = {"float32": 1e-6, "bfloat16": 2**-8, "float16": 2**-11}[dtype]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name].float(), tensor, rtol=unit, atol=1e-6)
    if dtype == "float32":
        np.testing.assert_allclose(logits_of(loaded.eval()), logits_of(model), atol=1e-5)
    assert info(str(tmp_path / "out"))[1] == ()


def test_the_type_stays_and_the_tokenizer_comes_along(reference, tmp_path):
    model, _, folder = reference
    shutil.copytree(folder, tmp_path / "source")
    (tmp_path / "source" / "merges.txt").write_text("a b\n")
    convert(str(tmp_path / "source"), tmp_path / "half", "float16")
    convert(str(tmp_path / "half"), tmp_path / "again")
    assert (tmp_path / "again" / "merges.txt").read_text() == "a b\n"
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "again"))
    assert all(array.dtype == np.float16 and (array == other[name]).all() for name, array in one.items())
    assert json.loads((tmp_path / "again" / "config.json").read_text())["bos_token_id"] == 2


def test_the_writer_writes_the_librarys_bytes(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones((300, 7000), np.float32)}
    save_file(arrays, tmp_path / "theirs", metadata={"format": "pt"})
    planned = [Planned(name, array.shape) for name, array in arrays.items()]
    write_safetensors(tmp_path / "ours", planned, "float32", arrays.__getitem__)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


# --- memory ----------------------------------------------------------------------------------------------------------

LARGE = Config(vocab_size=8192, n_ctx=24, n_layer=12, n_embd=128, n_head=4, rotary_dim=6)
"""Its embedding is 4 of its 18 MB."""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    params = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes(LARGE).items()}
    return params, tmp_path_factory.mktemp("large")


def peak_of(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_more_than_two_of_the_largest_tensor_is_held(large, tmp_path):
    params, folder = large
    weights = {name: array.nbytes for name, array in params.items()}
    bound, total = 2 * weights["wte"], sum(weights.values())
    assert weights["wte"] * 4 < total
    read_back = {}
    (folder / "hf").mkdir()
    tensors = tensor_reader(params, LARGE)
    planned = [Planned(slot.name, slot.shape) for slot in slots(LARGE)]
    assert peak_of(lambda: write_weights(folder / "hf", planned, "float32", tensors)) < bound
    config = hf_config(LARGE, 2, 0)
    (folder / "hf" / "config.json").write_text(json.dumps(config))
    as_mesh(params, folder / "mesh", full=False, dtype=ml_dtypes.bfloat16)
    (folder / "mesh" / "config.json").write_text(json.dumps(config))
    for name in ("hf", "mesh"):
        assert peak_of(lambda name=name: convert(str(folder / name), tmp_path / name, "bfloat16")) < bound, name
        more = peak_of(lambda name=name: read_back.update(read(folder / name))) - total
        assert more < bound, name
        assert (read_back["q"] == 0.5).all()
        read_back.clear()


# --- faults ----------------------------------------------------------------------------------------------------------


def refused(source, target, *words, **options):
    with pytest.raises(DataError) as caught:
        convert(str(source), target, **options)
    lines = str(caught.value).splitlines()
    for word, line in zip(words, lines, strict=True):
        assert word in line
    assert not target.exists() and not list(target.parent.glob(f".{target.name}*"))


def test_a_fault_is_a_line_and_nothing_is_left(reference, tmp_path):
    model, params, folder = reference
    tensors = load_file(folder / "model.safetensors")
    bad = tmp_path / "bad"
    bad.mkdir()
    refused(tmp_path / "nowhere", tmp_path / "out", "no such folder")
    refused(bad, tmp_path / "out", "no such folder, or an empty one")
    shutil.copy(folder / "config.json", bad)
    refused(bad, tmp_path / "out", "no GPT-J there")
    tensors["transformer.h.3.ln_1.bias"] = np.zeros(31, np.float32)
    tensors["score.weight"] = tensors.pop("transformer.h.2.attn.q_proj.weight")
    save_file(tensors, bad / "model.safetensors")
    words = "missing tensor transformer.h.2.attn.q_proj.weight", "unknown tensor score.weight", "(31,)"
    refused(bad, tmp_path / "out", *words)
    assert [word in line for word, line in zip(words, info(str(bad))[1], strict=True)] == [True] * 3
    whole = (folder / "model.safetensors").read_bytes()
    (bad / "model.safetensors").write_bytes(whole[:-10])
    refused(bad, tmp_path / "out", "cut short or damaged")
    (bad / "model.safetensors").unlink()
    (bad / "pytorch_model.bin").write_bytes(b"nothing of torch")
    refused(bad, tmp_path / "out", "no whole file of tensors")
    refused(folder, tmp_path / "out", "shard size is '5 apples'", shard_size="5 apples")
    with pytest.raises(DataError, match="there already"):
        convert(str(folder), bad)


def test_files_that_are_missing_are_named(reference, tmp_path):
    model, params, _ = reference
    as_torch(model, tmp_path / "bins", sharded=True)
    (tmp_path / "bins" / "pytorch_model-00002-of-00002.bin").unlink()
    refused(tmp_path / "bins", tmp_path / "out", "missing file pytorch_model-00002-of-00002.bin")
    mesh = as_mesh(params, with_config(tmp_path / "mesh"), full=False)
    (mesh / "shard_2" / "5.npz").unlink()
    refused(mesh, tmp_path / "out", "missing file shard_2/5.npz")
    shutil.rmtree(mesh / "shard_2")
    refused(mesh, tmp_path / "out", "shard_2/0.npz, shard_2/1.npz, shard_2/10.npz and 13 more")
    shutil.rmtree(mesh / "shard_3")  # the last ones: nothing says that there were more but the shapes
    refused(mesh, tmp_path / "out", "2 shards, of which each holds 8 of 32 columns; fetch all 4")


def test_gptj_6b_has_the_tensors_and_leaves_that_are_known():
    assert len(list(slots(GPTJ_6B))) == 285 and len(leaf_names(28)) == 286
    order = [name.split(".")[2] for name, _ in leaf_names(28) if name.endswith("q_proj.weight")]
    assert order[:5] == ["0", "1", "10", "11", "12"] and order[-1] == "9"


def test_an_index_that_is_none_and_a_place_that_is_not_reached_are_a_line(reference, tmp_path):
    as_torch(reference[0], tmp_path / "bins", sharded=True)
    (tmp_path / "bins" / "pytorch_model.bin.index.json").write_text("[]")
    refused(tmp_path / "bins", tmp_path / "out", "not an index")
    refused("nosuch://bucket/step_1", tmp_path / "out", "nosuch")


def test_sizes_are_not_guessed(reference, tmp_path):
    mesh = as_mesh(reference[1], tmp_path / "mesh", full=False)
    refused(mesh, tmp_path / "out", "12 layers of 32, which is not GPT-J-6B, and no config.json")
    (mesh / "config.json").write_text(json.dumps(MESH_CONFIG | {"pe": "t5"}))
    refused(mesh, tmp_path / "out", "pe 't5'")


def test_numbers_too_large_for_float16_are_refused(reference, tmp_path):
    model, params, folder = reference
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.bias"][5] = 1e6
    shutil.copytree(folder, tmp_path / "large")
    save_file(tensors, tmp_path / "large" / "model.safetensors")
    refused(tmp_path / "large", tmp_path / "out", "lm_head.bias: it has numbers that float16", dtype="float16")


def test_a_pickle_that_runs_code_is_refused(reference, tmp_path):
    import torch

    class Bad:
        def __reduce__(self):
            return print, ("run",)

    shutil.copytree(reference[2], tmp_path / "bad", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"transformer.wte.weight": Bad()}, tmp_path / "bad" / "pytorch_model.bin")
    refused(tmp_path / "bad", tmp_path / "out", "no whole file of tensors")


def test_the_commands(reference, tmp_path):
    import subprocess
    import sys

    def lowres(*words):
        return subprocess.run([sys.executable, "-m", "lowres", "gptj", *words], capture_output=True, text=True)

    done = lowres("convert", str(reference[2]), str(tmp_path / "out"), "--dtype", "bfloat16", "--shard-size", "200KB")
    assert done.returncode == 0 and "bfloat16 in" in done.stdout, done.stderr
    told = lowres("info", str(tmp_path / "out")).stdout
    assert "GPT-J, 12 layers of 32" in told and "bfloat16 100 %" in told and "304 rows" in told
    next((tmp_path / "out").glob("model-00002*")).unlink()
    broken = lowres("info", str(tmp_path / "out"))
    assert broken.returncode == 1 and broken.stderr.count("\n") == 1 and "missing file model-00002" in broken.stderr
    assert lowres("convert", str(reference[2]), str(tmp_path / "b"), "--dtype", "int4").returncode == 2


# --- init of a recipe ------------------------------------------------------------------------------------------------


def test_a_recipe_takes_every_layout(rooms, reference, tmp_path, new_run):
    from lowres.families.contract import Shared
    from lowres.families.gptj import stages
    from lowres.families.gptj.settings import GptjMethod
    from lowres.families.gptj.spec import language_model

    model, params, folder = reference
    as_torch(model, tmp_path / "bins", sharded=True)
    as_mesh(params, with_config(tmp_path / "full") / "step_9", full=True)
    as_eight_bit(folder, folder, tmp_path / "eight", torch_file=True)
    shared = Shared("eng", corpus=None, tokenizer=None, lm_seed=0, unlabelled="train")
    for name, files, near in (("bins", 4, 0), ("full", 65, 1e-5), ("eight", 2, 0.01)):
        shutil.copytree(rooms / "tokenizer", tmp_path / name / "tokenizer")
        node = language_model(GptjMethod(family="gptj", init=str(tmp_path / name)), shared).weights
        weights = [file for file in node.spec.files if not file.startswith("tokenizer/")]
        assert len(weights) == files and "config.json" in weights, weights
        run = new_run()
        stages.read_lm({}, node.spec, run)
        read_back = huggingface.load_lm(run.out)[0]
        assert run.facts["parameters"] == sum(array.size for array in params.values())
        for key, array in params.items():
            np.testing.assert_allclose(read_back[key], array, atol=near)
