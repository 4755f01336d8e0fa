import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from tokenizers import pre_tokenizers
from typer.testing import CliRunner

from lowres.cli import app
from lowres.errors import DataError
from lowres.families.gptj import generate, huggingface
from lowres.families.gptj.cache import empty_cache, read_on
from lowres.families.gptj.generate import Sampling
from lowres.families.gptj.model import Config, hidden, init, logits
from lowres.guard import guard_torchvision
from lowres.tokenizers.base import load_tokenizer

PROMPTS = ["The lake", "The market of Riga", "A"]
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def folder(rooms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    tokenizer = load_tokenizer(rooms / "tokenizer")
    config = Config(tokenizer.vocab_size + 4, n_ctx=64, n_layer=2, n_embd=32, n_head=2, rotary_dim=8)
    params = {name: 8 * np.asarray(array) for name, array in init(config, 3).items()}
    huggingface.save_lm(folder, params, config, tokenizer)
    return folder


@pytest.fixture(scope="module")
def generator(folder):
    return generate.load(folder)


@pytest.fixture(scope="module")
def reference(folder):
    guard_torchvision()
    from transformers import GPTJForCausalLM

    return GPTJForCausalLM.from_pretrained(folder).eval()


def starts(generator):
    return [[generator.tokenizer.bos_id, *ids] for ids in generator.tokenizer.encode(PROMPTS)]


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_tokens_are_those_of_transformers(generator, reference, penalty):
    import torch

    banned = np.flatnonzero(generator._banned()).tolist()
    ours = generator.continuations(starts(generator), 40, Sampling(0.0, repetition_penalty=penalty), [0, 0, 0])
    for start, new in zip(starts(generator), ours, strict=True):
        settings = {"do_sample": False, "repetition_penalty": penalty, "suppress_tokens": banned}
        theirs = reference.generate(
            torch.tensor([start]), attention_mask=torch.ones(1, len(start)), max_new_tokens=40, **settings
        )
        assert [token for token in theirs[0, len(start) :].tolist() if token != generator.tokenizer.bos_id] == new
    assert max(map(len, ours)) > 20 and len(set(ours[1])) > 3


def test_cached_scores_are_those_of_the_whole(folder):
    """Rows of different lengths are read on together."""
    arrays, config, _ = huggingface.load_lm(folder)
    params = {name: jax.numpy.asarray(array) for name, array in arrays.items()}
    ids = np.random.default_rng(0).integers(0, 300, (3, 64)).astype(np.int32)
    lengths = np.array([5, 31, 9], np.int32)
    tokens = np.where(np.arange(32) < lengths[:, None], ids[:, :32], 7)
    scores, cache = read_on(params, tokens, lengths, empty_cache(config, 3, 64), config)
    for _ in range(4):
        following = np.take_along_axis(ids, np.asarray(cache.lengths)[:, None], axis=1)
        scores, cache = read_on(params, following, np.ones(3, np.int32), cache, config)
    whole = jax.jit(lambda ids: logits(params, hidden(params, ids, config)))(ids)
    for row, length in enumerate(lengths + 4):
        np.testing.assert_allclose(scores[row], whole[row, length - 1], atol=1e-5 * np.abs(whole).max())


def test_a_text_does_not_depend_on_its_company(generator):
    sampling, seeds = Sampling(1.0, top_k=20, repetition_penalty=1.2), [4, 5, 6]
    together = generator.generate_batch(PROMPTS, 40, sampling, seeds)
    alone = [generator.generate_batch([p], 40, sampling, [s])[0] for p, s in zip(PROMPTS, seeds, strict=True)]
    assert together == alone
    assert all(text.startswith(prompt) for text, prompt in zip(together, PROMPTS, strict=True))
    long = generator.generate_batch(["The market of Riga is good and the", *PROMPTS[1:]], 40, sampling, seeds)
    assert long[1:] == together[1:], "a row that fills its context leaves the others theirs"
    assert generator.generate_batch(PROMPTS[:1], 40, sampling, [9])[0] != together[0], "a seed gives its text"


def test_the_likeliest_token_needs_no_seed(generator):
    greedy = [generator.generate("The lake", max_tokens=40, temperature=0.0, seed=seed) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    narrow = [generator.generate("The lake", max_tokens=40, temperature=1.0, top_k=1, seed=seed) for seed in (1, 2)]
    nucleus = generator.generate("The lake", max_tokens=40, temperature=1.0, top_p=1e-6, seed=3)
    assert narrow[0] == narrow[1] == nucleus == greedy[0]


def drawn(scores, settings, banned=None, seen=None, times=400):
    """Ids that come out for one row of scores, over many keys."""
    rows = np.broadcast_to(np.asarray(scores, np.float32), (times, len(scores)))
    banned = np.zeros(len(scores), bool) if banned is None else banned
    seen = np.broadcast_to(np.zeros(len(scores), bool) if seen is None else seen, rows.shape)
    keys = jax.random.split(jax.random.key(0), times)
    return np.asarray(generate.next_tokens(rows, settings.array(), seen, banned, keys, 0))


@pytest.mark.parametrize("sampling", [Sampling(1.3, 7, 1.0), Sampling(0.9, 0, 0.7), Sampling(2.0, 12, 0.6)])
def test_what_may_be_drawn_is_what_transformers_keeps(sampling):
    import torch
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = np.random.default_rng(1).standard_normal(30)
    warpers = [TemperatureLogitsWarper(sampling.temperature)]
    warpers += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    warpers += [TopPLogitsWarper(sampling.top_p)]
    kept = LogitsProcessorList(warpers)(None, torch.tensor(scores[None]))[0]
    ours = drawn(scores, sampling)
    assert set(ours) == set(torch.isfinite(kept).nonzero()[:, 0].tolist())
    shares = np.bincount(ours, minlength=30) / len(ours)
    np.testing.assert_allclose(shares, kept.softmax(0).numpy(), atol=0.1)


def test_banned_tokens_are_never_drawn_and_repeated_ones_seldom(generator):
    banned = generator._banned()
    wide = set(drawn(np.zeros(len(banned)), Sampling(1.0, 0, 1.0), banned))
    assert len(wide) > 100 and max(wide) < generator.tokenizer.vocab_size, "spare rows are never drawn"
    assert not wide & {generator.tokenizer.pad_id, generator.tokenizer.unk_id}
    seen = np.array([True, True, False])
    assert set(drawn([2.0, -1.0, 1.5], Sampling(0.0, repetition_penalty=2.0), seen=seen)) == {2}


def test_a_text_longer_than_the_context_goes_on(generator):
    config = dataclasses.replace(generator.config, n_ctx=16)
    short = dataclasses.replace(generator, config=config)
    (start,) = starts(generator)[:1]
    (new,) = short.continuations([start], 40, Sampling(1.0), [1])
    assert len(new) > 20
    room = 16 - len(start) + 1
    assert new[:room] == generator.continuations([start], 40, Sampling(1.0), [1])[0][:room]
    greedy = short.continuations([start], 40, GREEDY, [1])[0]
    from_half = short.continuations([(start + greedy[:room])[-8:]], 40, GREEDY, [1])[0]
    assert greedy[room : room + 8] == from_half[:8], "it goes on from the last half of what it can look back"


def test_a_text_ends_before_a_stop_text(generator):
    (whole,) = generator.generate_batch(["The"], 40, Sampling(1.0), [2])
    stop = whole[8:10]
    (cut,) = generator.generate_batch(["The"], 40, Sampling(1.0, stop=("never", stop)), [2])
    assert cut == whole[: whole.index(stop, 3)] and len(cut) < len(whole)


def test_eight_bits_write_too(folder, generator):
    eight = generate.load(folder, int8=True)
    assert len(eight.params.layers) == eight.config.n_layer
    one, other = (model.continuations(starts(model), 40, GREEDY, [0, 0, 0]) for model in (eight, generator))
    assert sum(a[:2] == b[:2] for a, b in zip(one, other, strict=True)) >= 2


def test_settings_out_of_range_are_refused(generator):
    with pytest.raises(DataError, match="top_p"):
        generator.generate("The", top_p=0.0)
    with pytest.raises(DataError, match="repetition_penalty"):
        Sampling(repetition_penalty=0.0)


def test_the_command_writes_for_every_prompt_and_sample(folder, generator):
    words = ["gptj", "generate", str(folder), "--tokens", "40", "--seed", "3", "--json", "--samples", "3"]
    done = CliRunner().invoke(app, [*words, "--top-k", "20", "--repetition-penalty", "1.3"], input="The lake\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["prompt"], line["seed"]) for line in lines] == [("The lake", seed) for seed in (3, 4, 5)]
    sampling = Sampling(0.8, 20, 0.95, 1.3)
    assert lines[1]["text"] == generator.generate_batch(["The lake"], 40, sampling, [4])[0]


def test_a_folder_of_gpt2s_tokenizer_is_read(folder, generator, tmp_path):
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer"))
    with pytest.raises(DataError, match="no tokenizer/ of lowres"):
        generate.load_any(str(tmp_path / "model"))
    letters = [*pre_tokenizers.ByteLevel.alphabet(), "<|endoftext|>"]
    (tmp_path / "model" / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(sorted(letters))}))
    (tmp_path / "model" / "merges.txt").write_text("#version: 0.2\n")
    model = generate.load_any(str(tmp_path / "model"))
    assert model.generate("x", 3, seed=1).startswith("x") and model.tokenizer.vocab_size == 258
