import json
import subprocess
import sys
from collections import Counter

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from syllables import document
from tokenizers import pre_tokenizers

from lowres.errors import DataError
from lowres.text.normalise import Normalisation, normalise
from lowres.tokenizers.base import load_tokenizer, sampler_of
from lowres.tokenizers.gpt2 import END_OF_TEXT, Gpt2Tokenizer
from lowres.tokenizers.rules import Rules
from lowres.tokenizers.spec import Subword
from lowres.tokenizers.subword import SubwordTokenizer, train_subword
from lowres.tokenizers.words import WordTokenizer

TEXTS = [document(n) for n in range(200)]
ODD = ["", "漢字 và 漢", "HÀ NỘI!!!!!! Huế\nxxmaj ▁x", "một một một một một hai", "Nguyễn\n\nthường"]
KINDS = {
    "unigram": Subword(vocab_size=400),
    "bpe": Subword(vocab_size=400, model="bpe"),
    "unigram in bytes": Subword(vocab_size=700, byte_fallback=True),
    "bpe in bytes": Subword(vocab_size=700, byte_fallback=True, model="bpe"),
}


@pytest.fixture(scope="module")
def trained():
    return {kind: train_subword(TEXTS, spec, "vie") for kind, spec in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_without_chance_it_is_the_best_cut(trained, kind):
    tokenizer = trained[kind]
    sampler = tokenizer.sampler(0.0 if "bpe" in kind else 1e4)
    assert sampler.encode([*TEXTS, *ODD], 0) == tokenizer.encode([*TEXTS, *ODD])


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(alphabet="aăâbcdđeghiêklmnoôơpqrstuưvxyàảãáạ AĐ\n!漢x▁", max_size=60))
def test_what_is_drawn_is_the_text(trained, kind, text):
    text = normalise(text, Normalisation())
    tokenizer = trained[kind]
    best, drawn = tokenizer.encode([text])[0], tokenizer.sampler(0.3).encode([text], 1)[0]
    assert tokenizer.decode(drawn) == tokenizer.decode(best)
    assert drawn.count(0) == best.count(0), "a character is unknown in no cut or in all"


@pytest.mark.parametrize(("kind", "alpha"), [("unigram", 0.05), ("unigram", 0.2), ("bpe", 0.1), ("bpe", 0.5)])
def test_it_draws_what_sentencepiece_draws(trained, kind, alpha):
    """Total variation between two samples of 6,000; equal distributions of some ten cuts give about 0.02."""
    word, size = "thường", 6000
    library = sentencepiece.SentencePieceProcessor()
    library.LoadFromSerializedProto(trained[kind].model)
    theirs = library.encode([f" {word}"] * size, out_type=int, enable_sampling=True, nbest_size=-1, alpha=alpha)
    ours = trained[kind].sampler(alpha).encode([word] * size, 3)
    counts = [Counter(map(tuple, sample)) for sample in (ours, theirs)]
    assert len(counts[0]) >= 4, "the word has several cuts"
    cuts = counts[0].keys() | counts[1].keys()
    assert sum(abs(counts[0][cut] - counts[1][cut]) for cut in cuts) / (2 * size) < 0.05


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_seed_and_epoch_decide_in_any_process_with_any_threads(trained, kind, tmp_path):
    trained[kind].save(tmp_path)
    sampler = trained[kind].sampler(0.2)
    sampler.encode(TEXTS, 9, 9)
    here = sampler.encode(TEXTS[:20], 1, 2)
    program = (
        "import sys, pathlib; from lowres.tokenizers.base import load_tokenizer as load\n"
        "texts = sys.stdin.read().split('\\0')\n"
        f"print(load(pathlib.Path({str(tmp_path)!r})).sampler(0.2).encode(texts, 1, 2))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program], input="\0".join(TEXTS[:20]), env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{here}\n", done.stderr
    assert here != sampler.encode(TEXTS[:20], 1, 3) != sampler.encode(TEXTS[:20], 2, 3)


def test_marks_and_line_breaks_are_one_piece(trained):
    text = "HÀ NỘI Huế\nđi!!!!!"
    best = [i for i in trained["unigram"].encode([text])[0] if 4 <= i <= 9]
    for seed in range(20):
        drawn = trained["unigram"].sampler(0.05).encode([text], seed)[0]
        assert [i for i in drawn if 4 <= i <= 9] == best


def test_smaller_alpha_is_more_random_for_unigram_and_less_for_bpe(trained):
    sizes = {
        (kind, alpha): sum(map(len, trained[kind].sampler(alpha).encode(TEXTS, 0)))
        for kind in ("unigram", "bpe")
        for alpha in (0.1, 0.9)
    }
    best = {kind: sum(map(len, trained[kind].encode(TEXTS))) for kind in ("unigram", "bpe")}
    assert sizes["unigram", 0.1] > sizes["unigram", 0.9] > best["unigram"]
    assert best["bpe"] < sizes["bpe", 0.1] < sizes["bpe", 0.9]


def test_what_was_saved_draws_the_same(trained, tmp_path):
    trained["bpe"].save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, SubwordTokenizer)
    assert loaded.sampler(0.3).encode(TEXTS, 5) == trained["bpe"].sampler(0.3).encode(TEXTS, 5)


def test_a_tokenizer_with_one_cut_says_so():
    vocab = {piece: i for i, piece in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), END_OF_TEXT])}
    gpt2 = Gpt2Tokenizer(json.dumps(vocab).encode(), b"#version: 0.2\n")
    for tokenizer in (gpt2, WordTokenizer(["một"], Rules("vie"), None)):
        assert sampler_of(tokenizer, 0.0) is None
        with pytest.raises(DataError, match=r"subword_sampling is 0\.1, and a .* cuts a text in one way alone; set"):
            sampler_of(tokenizer, 0.1)
