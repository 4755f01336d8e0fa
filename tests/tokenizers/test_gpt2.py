import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from lowres.errors import DataError
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.gpt2 import END_OF_TEXT, Gpt2Tokenizer

MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w")]


def files(extra=(), drop=()):
    """encoder.json and vocab.bpe of a small byte-level BPE."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in MERGES] + [END_OF_TEXT, *extra]
    vocab = {piece: i for i, piece in enumerate(piece for piece in pieces if piece not in drop)}
    merges = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES)
    return json.dumps(vocab).encode(), merges.encode()


@pytest.fixture(scope="module")
def tokenizer():
    return Gpt2Tokenizer(*files())


def test_merges_are_applied_in_order(tokenizer):
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    hello, space_w = 256 + 3, 256 + 4
    assert tokenizer.encode(["hello world", "held"]) == [
        [hello, space_w, *(pieces.index(c) for c in "orld")],
        [256, *(pieces.index(c) for c in "ld")],
    ]


def test_ids(tokenizer):
    assert (tokenizer.bos_id, tokenizer.pad_id, tokenizer.vocab_size) == (261, 262, 263)
    assert tokenizer.unk_id is None
    assert tokenizer.unknown_bytes("漢") == 0


@given(st.text())
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode([text])[0]
    assert tokenizer.decode(ids) == text
    assert len(ids) <= len(text.encode("utf-8"))


def test_the_marker_in_a_text_is_text(tokenizer):
    ids = tokenizer.encode([f"a{END_OF_TEXT}b"])[0]
    assert tokenizer.bos_id not in ids
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.pad_id]) == f"a{END_OF_TEXT}b"


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).encode(["hello wé"]) == tokenizer.encode(["hello wé"])
    (tmp_path / "vocab.bpe").unlink()
    with pytest.raises(DataError, match="vocab.bpe: no such file"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("encoder", "merges", "says"),
    [
        (b"{", files()[1], "not JSON"),
        (b'{"a": 0, "b": 2}', files()[1], "ids 0 to n - 1"),
        (b'{"<|endoftext|>": 0}', b"", "256 of 256 bytes have no piece"),
        (files(drop=(END_OF_TEXT,))[0], files()[1], "there is no"),
        (files()[0], b"a b c\n", "line 1 is not two pieces"),
        (files()[0], b"x y\n", "does not belong"),
    ],
)
def test_damaged_files_are_named(encoder, merges, says):
    with pytest.raises(DataError, match=says):
        Gpt2Tokenizer(encoder, merges)
