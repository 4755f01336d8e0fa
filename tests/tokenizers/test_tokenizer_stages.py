import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from syllables import document, write_corpus
from tokenizers import pre_tokenizers

from lowres.artifacts import PackedTokens, Run
from lowres.errors import DataError, Stopped
from lowres.tokenizers import stages
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.gpt2 import END_OF_TEXT, Gpt2Tokenizer
from lowres.tokenizers.spec import Gpt2Spec, PackSpec, Subword, TokenizerSpec


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    train = [document(n) for n in range(400)]
    splits = {"train": [*train, ""], "valid": ["Hà Nông có 漢.", "Huyên!"], "test": ["Huế."]}
    return write_corpus(tmp_path_factory.mktemp("corpora") / "corpus", splits)


def train(corpus, out, **settings):
    out.mkdir()
    run = Run(out=out, work=out, seed=0)
    subword = Subword(**{"vocab_size": 300, **settings})
    stages.train_tokenizer({"corpus": corpus}, TokenizerSpec(subword=subword, language="vie"), run)
    return run


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    return train(corpus, tmp_path_factory.mktemp("tokenizers") / "tokenizer")


def pack(corpus, tokenizer, out, **options):
    out.mkdir()
    run = Run(out=out, work=out, seed=0, **options)
    stages.pack_tokens({"corpus": corpus, "tokenizer": tokenizer}, PackSpec(), run)
    return run


def test_training_notes_what_the_tokenizer_does(corpus, trained):
    tokenizer = load_tokenizer(trained.out)
    texts = pq.read_table(corpus / "valid.parquet").column("text").to_pylist()
    ids = [i for found in tokenizer.encode(texts) for i in found]
    assert trained.facts["vocab_size"] == tokenizer.vocab_size <= 300 == trained.facts["vocab_size_asked"]
    assert trained.facts["fertility"] == len(ids) / sum(len(text.split()) for text in texts)
    assert trained.facts["tokens_per_byte"] == len(ids) / sum(len(text.encode()) for text in texts)
    assert trained.facts["unknown_rate"] == ids.count(0) / len(ids) > 0


def test_training_twice_gives_the_same_bytes(corpus, trained, tmp_path):
    again = train(corpus, tmp_path / "again")
    assert again.facts == trained.facts
    for name in ("spm.model", "lowres_tokenizer.json"):
        assert (again.out / name).read_bytes() == (trained.out / name).read_bytes()


def test_the_sample_is_drawn_by_hash_up_to_its_size(corpus):
    view = stages.Corpus(corpus)
    whole = list(view.texts("train"))
    drawn = stages.sample_texts(view, 1000)
    more = stages.sample_texts(view, 2000)
    sizes = [len(text.encode()) for text in drawn]
    assert sum(sizes) >= 1000 > sum(sizes) - max(sizes)
    assert drawn != whole[: len(drawn)]
    assert set(drawn) < set(more)
    assert drawn == [text for text in whole if text in set(drawn)]
    assert stages.sample_texts(view, 10**9) == whole


def test_a_corpus_too_small_is_an_error(tmp_path):
    corpus = write_corpus(tmp_path / "c", {"train": ["một hai ba"], "valid": ["bốn"]})
    with pytest.raises(DataError, match="too small for a tokenizer"):
        train(corpus, tmp_path / "t")
    empty = write_corpus(tmp_path / "e", {"train": [], "valid": []})
    with pytest.raises(DataError, match="no text"):
        train(empty, tmp_path / "u")


def test_packing_equals_encoding(corpus, trained, tmp_path):
    run = pack(corpus, trained.out, tmp_path / "packed")
    tokenizer = load_tokenizer(trained.out)
    for split in ("train", "valid"):
        texts = pq.read_table(corpus / f"{split}.parquet").column("text").to_pylist()
        encoded = [[tokenizer.bos_id, *ids] for ids in tokenizer.encode(texts)]
        tokens = PackedTokens(run.out).tokens(split)
        offsets = np.load(run.out / f"{split}.offsets.npy", mmap_mode="r")
        assert isinstance(tokens, np.memmap) and tokens.dtype == np.uint16 and offsets.dtype == np.int64
        assert tokens.tolist() == [i for ids in encoded for i in ids]
        assert offsets.tolist() == [0, *np.cumsum([len(ids) for ids in encoded])]
        text_bytes = sum(len(text.encode()) for text in texts)
        assert run.facts["tokens"][split] == len(tokens)
        assert run.facts["bytes"][split] == text_bytes
        assert run.facts["bytes_per_token"][split] == text_bytes / (len(tokens) - len(texts))
    assert run.facts["unknown_rate"]["train"] < 0.002 < run.facts["unknown_rate"]["valid"]


def test_packing_twice_gives_the_same_bytes(corpus, trained, tmp_path):
    first, second = (pack(corpus, trained.out, tmp_path / name).out for name in "ab")
    assert {file.name for file in first.iterdir()} == {
        f"{split}{kind}.npy" for split in ("train", "valid") for kind in ("", ".offsets")
    }
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_packing_reports_bytes_and_can_be_stopped(corpus, trained, tmp_path):
    seen = []
    run = pack(corpus, trained.out, tmp_path / "a", on_progress=lambda *progress: seen.append(progress))
    total = sum(run.facts["bytes"].values())
    assert seen[-1][:3] == (total, total, "bytes")
    with pytest.raises(Stopped):
        pack(corpus, trained.out, tmp_path / "b", stop_requested=lambda: True)


def test_an_empty_train_split_is_an_error(trained, tmp_path):
    corpus = write_corpus(tmp_path / "c", {"train": [], "valid": ["Huế"]})
    with pytest.raises(DataError, match="no documents to pack"):
        pack(corpus, trained.out, tmp_path / "p")


def test_a_vocabulary_over_16_bits_is_packed_in_32(tmp_path):
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), END_OF_TEXT, *(f"piece{n}" for n in range(70_000))]
    encoder, merges = tmp_path / "e", tmp_path / "m"
    encoder.write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    merges.write_text("#version: 0.2\n")
    out = tmp_path / "gpt2"
    out.mkdir()
    run = Run(out=out, work=out, seed=0, files={"aa": encoder, "bb": merges})
    stages.read_gpt2_tokenizer({}, Gpt2Spec(encoder_sha256="aa", merges_sha256="bb"), run)
    assert run.facts == {"vocab_size": len(pieces) + 1}
    assert isinstance(load_tokenizer(out), Gpt2Tokenizer)
    corpus = write_corpus(tmp_path / "c", {"train": ["ab"], "valid": ["b"]})
    packed = PackedTokens(pack(corpus, out, tmp_path / "p").out).tokens("train")
    assert packed.dtype == np.uint32
    assert packed.tolist() == [256, pieces.index("a"), pieces.index("b")]


def test_a_growing_array_survives_an_empty_one(tmp_path):
    path = tmp_path / "a.npy"
    with stages.NpyWriter(path, np.dtype(np.uint16)):
        pass
    assert np.load(path).shape == (0,)
    with stages.NpyWriter(path, np.dtype(np.uint16)) as writer:
        for n in range(12):
            writer.append(np.full(10_000, n, np.uint16))
    assert np.load(path, mmap_mode="r").tolist() == [n for n in range(12) for _ in range(10_000)]
