import gzip
import math

import numpy as np
import pytest

from lowres.artifacts import Node
from lowres.errors import DataError, RecipeError
from lowres.families.gptj import replace, stages, vocabulary
from lowres.families.gptj.huggingface import load_lm
from lowres.families.gptj.lora import EMBEDDINGS
from lowres.families.gptj.settings import AdaptSpec, VocabularySpec
from lowres.families.gptj.spec import language_model
from lowres.families.gptj.vocabulary import Mix, copy_mean, focus, overlap, sparsemax, wechsel
from lowres.fingerprint import file_sha256


class Pieces:
    """A toy tokenizer: greedy, the longest piece first; id 0 is unknown, id 1 starts a document."""

    unk_id, bos_id = 0, 1

    def __init__(self, *pieces):
        self.surfaces = [None, None, *(piece.encode() for piece in pieces)]
        self.vocab_size = len(self.surfaces)

    def cut(self, text):
        ids = []
        while text:
            fits = [(len(s.decode()), i) for i, s in enumerate(self.surfaces) if s and text.startswith(s.decode())]
            size, i = max(fits, default=(1, 0))
            ids, text = [*ids, i], text[size:]
        return ids


OLD = Pieces("a", "b", " c", "ab")  # ids 2 to 5
NEW = Pieces(" c", "ba", "aab", "x")


def test_the_same_string_is_copied_and_others_are_the_mean_of_their_old_pieces():
    assert overlap(NEW, OLD) == {1: 1, 2: 4}
    assert copy_mean(NEW, OLD) == {1: {1: 1}, 2: {4: 1}, 3: {3: 0.5, 2: 0.5}, 4: {2: 0.5, 5: 0.5}}
    old = np.arange(14, dtype=np.float32).reshape(7, 2)  # a row more than ids
    mix = Mix.of(copy_mean(NEW, OLD), NEW.vocab_size, OLD, len(old), None)
    rows = mix.rows(old)
    assert rows.shape == (128, 2)
    np.testing.assert_allclose(rows[1:5], [old[1], old[4], (old[3] + old[2]) / 2, (old[2] + old[5]) / 2])
    np.testing.assert_allclose(rows[[0, 5]], [old[2:6].mean(axis=0)] * 2)  # of the pieces, not of the spare row
    assert not rows[6:].any()
    bias = mix.bias(old[:, 0])
    np.testing.assert_allclose(bias[:5], [*rows[:1, 0], *rows[1:5, 0]])
    assert (bias[6:] < -1000).all()


def test_sparsemax_is_the_projection_onto_the_simplex():
    # Martins and Astudillo 2016: in two dims max(0, min(1, (1 + t) / 2)) of the difference t
    scores = np.array([[0.3, 0.0], [2.0, 0.0], [0.0, 0.5]])
    np.testing.assert_allclose(sparsemax(scores), [[0.65, 0.35], [1, 0], [0.25, 0.75]])
    drawn = np.random.default_rng(0).normal(size=(20, 7))
    found = sparsemax(drawn)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all() and (found == 0).any()
    for scores, weights in zip(drawn, found, strict=True):  # what is kept lies above one threshold, all the rest below
        assert np.ptp((scores - weights)[weights > 0]) < 1e-9
        assert scores[weights == 0].max(initial=-9) <= (scores - weights)[weights > 0].max()


def test_focus_mixes_overlapping_rows_by_sparsemax_of_cosines():
    vectors = {
        2: np.array([2.0, 0]),
        3: np.array([0, 1.0]),
        4: np.array([1.0, 1]),
        5: np.array([3.0, 0]),
        9: -np.ones(2),
    }
    rows = focus({1: 1, 2: 4, 3: 7}, vectors)
    assert rows[1] == {1: 1} and rows[2] == {4: 1} and rows[3] == {7: 1}
    assert (
        rows[4] == pytest.approx({4: 0.5, 7: 0.5}) and rows[5] == {4: 1} and rows[9] == pytest.approx({4: 0.5, 7: 0.5})
    )
    with pytest.raises(DataError, match="both vocabularies have"):
        focus({1: 1}, vectors)


def test_wechsel_weighs_ten_neighbours_by_softmax_at_a_tenth():
    angles = np.linspace(0, 3, 12)
    old = {20 + k: np.array([math.cos(a), math.sin(a)]) * (k + 1) for k, a in enumerate(angles)}
    (row,) = wechsel({3: np.array([5.0, 0])}, old).values()
    assert set(row) == {20 + k for k in range(10)}
    weights = np.exp(np.cos(angles[:10]) / 0.1)
    np.testing.assert_allclose([row[20 + k] for k in range(10)], weights / weights.sum(), rtol=1e-9)


def test_vectors_are_read_a_line_at_a_time(tmp_path):
    plain, packed_file = tmp_path / "v.vec", tmp_path / "v.vec.gz"
    plain.write_text("3 2\nab 1 2 \n c d 3 4\n\u2581c 5 6\n", encoding="utf-8")
    packed_file.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed_file):
        found = [(word, vector.tolist()) for word, vector in vocabulary.read_vectors(path)]
        assert found == [("ab", [1, 2]), (" c d", [3, 4]), ("\u2581c", [5, 6])]
    assert {i: v.tolist() for i, v in vocabulary.piece_vectors(plain, NEW).items()} == {2: [5, 6]}
    for wrong in ("3 2\nab 1\n", "ab 1 2\nc 1 x\n", "ab 1 nan\n"):
        plain.write_text(wrong)
        with pytest.raises(DataError, match=r"v\.vec: line \d is not a word and"):
            list(vocabulary.read_vectors(plain))


def test_a_piece_has_the_mean_of_its_words_weighed_by_rank(tmp_path):
    path = tmp_path / "words.vec"
    path.write_text("c 1 0\nca 0 3\n")
    found = vocabulary.word_vectors(path, OLD)
    np.testing.assert_allclose(found[4], (np.array([1, 0]) + np.array([0, 3]) / 2) / 1.5)
    np.testing.assert_allclose(found[2], [0, 3])


def test_gpt2s_pieces_are_bytes_with_their_space(tmp_path):
    import json

    from lowres.tokenizers.gpt2 import _BYTES, Gpt2Tokenizer

    pieces = [*_BYTES, "\u0120t", "<|endoftext|>"]
    encoder = json.dumps({piece: i for i, piece in enumerate(pieces)}).encode()
    tokenizer = Gpt2Tokenizer(encoder, "#version: 0.2\n\u0120 t\n".encode())
    assert sorted(s for s in tokenizer.surfaces if s and len(s) == 1) == [bytes([b]) for b in range(256)]
    assert tokenizer.surfaces[256:] == [b" t", None, None]
    assert b"".join(tokenizer.surfaces[i] for i in tokenizer.cut(" tố")) == " tố".encode()


@pytest.mark.parametrize("how", ["copy-mean", "focus", "wechsel", "random"])
def test_a_models_vocabulary_is_replaced_and_the_rest_stays(how, pretrained, rooms, new_run, tmp_path):
    from lowres.tokenizers.base import load_tokenizer
    from lowres.tokenizers.spec import Subword
    from lowres.tokenizers.subword import train_subword

    train_subword(
        ["A brand new river market, and a new lake."] * 99, Subword(vocab_size=290, byte_fallback=True), "eng"
    ).save(tmp_path)
    new, old = load_tokenizer(tmp_path), load_tokenizer(rooms / "tokenizer")
    paths, files = (), ()
    if how == "focus":
        path = tmp_path / "pieces.vec"
        path.write_text("\n".join(f"{piece} {i} {i * i % 7}" for i, piece in enumerate(new.pieces) if i > 9))
        paths, files = (str(path),), (file_sha256(path),)
    if how == "wechsel":
        path = tmp_path / "words.vec"
        path.write_text("river 1 0\nlake 0 1\nmarket 1 1\n")
        paths, files = (str(path),) * 2, (file_sha256(path),) * 2
    run = new_run()
    spec = VocabularySpec(how=how, files=files, paths=paths, seed=0)
    replace.replace_vocabulary({"lm": pretrained[0], "tokenizer": tmp_path}, spec, run)
    before, after = load_lm(pretrained[0])[0], load_lm(run.out)[0]
    assert after["wte"].shape == (384, 32) and after["head"].shape == (32, 384)
    assert all((before[name] == after[name]).all() for name in before if name not in EMBEDDINGS)
    assert (
        run.facts["vocab_size"] == 384
        and run.facts["copied"] + run.facts["mixed"] + run.facts["filled"] == new.vocab_size
    )
    same = overlap(new, old)
    assert len(same) > 256
    kept = [np.array_equal(before["head"][:, o], after["head"][:, n]) for n, o in same.items()]
    if how in ("copy-mean", "focus"):
        assert all(kept)
    else:  # of wechsel bos_id alone, and what has one neighbour
        assert sum(kept) < 20 and kept[list(same).index(new.bos_id)] == (how == "wechsel")
    if how == "focus":
        with pytest.raises(DataError, match="changed since the run was planned"):
            replace.replace_vocabulary(
                {"lm": pretrained[0], "tokenizer": tmp_path}, spec.model_copy(update={"files": ("0",)}), new_run()
            )


def test_embeddings_first_leaves_the_layers_alone(pretrained, rooms, new_run):
    run = new_run()
    spec = AdaptSpec(epochs=0.3, batch_size=8, embeddings_only=True, seed=0)
    inputs = {"lm": pretrained[0], "packed": rooms / "packed", "tokenizer": rooms / "tokenizer"}
    stages.adapt_lm(inputs, spec, run)
    before, after = load_lm(pretrained[0])[0], load_lm(run.out)[0]
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == set(EMBEDDINGS)
    assert run.facts["tokens_seen"] > 0


def test_a_folders_vocabulary_is_replaced_and_trained_in_nodes_of_their_own(pretrained, tmp_path):
    from test_gptj_spec import GPT2, TOKENIZER, chain, method, shared

    where = str(pretrained[0])
    keep = language_model(method(init=where), shared()).weights
    plain = language_model(method(init=where, vocabulary="copy-mean"), shared()).weights
    assert chain(plain) == ["gptj.replace_vocabulary", "gptj.read_lm"]
    assert plain.inputs["lm"].id == keep.id and plain.inputs["tokenizer"] is TOKENIZER
    both = language_model(
        method(init=where, vocabulary="random", adapt={"embeddings_first": 1, "epochs": 2}), shared()
    ).weights
    assert chain(both) == ["gptj.adapt_lm", "gptj.adapt_lm", "gptj.replace_vocabulary", "gptj.read_lm"]
    steps = both, both.inputs["lm"]
    assert [(node.spec.epochs, node.spec.embeddings_only) for node in steps] == [(2, False), (1, True)]
    path, moved = tmp_path / "a.vec", tmp_path / "b.vec"
    for each in (path, moved):
        each.write_text("x 1 2\n")
    nodes = [
        language_model(method(init=where, vocabulary="focus", vectors=str(p)), shared()).weights for p in (path, moved)
    ]
    assert nodes[0].id == nodes[1].id, "vectors are named by their bytes"
    assert isinstance(nodes[0], Node) and not method(init=where, vocabulary="focus", vectors=str(path)).needs_gpt2
    assert GPT2 not in nodes[0].inputs.values()
    with pytest.raises(RecipeError, match=r"vectors: .*nowhere: no such file"):
        language_model(method(init=where, vocabulary="focus", vectors="nowhere"), shared())
    with pytest.raises(RecipeError, match="the recipe has no corpus"):
        language_model(method(init=where, vocabulary="random"), shared(corpus=None, tokenizer=None))
    for settings, said in (
        ({"vocabulary": "random"}, 'vocabulary has no effect where init is "pretrain"'),
        ({"init": where, "adapt": {"epochs": 0}}, "leave adapt out to train nothing"),
        ({"init": where, "lm": {"epochs": 1}}, "lm.epochs has no effect"),
        ({"init": where, "vocabulary": "random", "lm": {"n_layer": 1}}, "lm.n_layer has no effect"),
        ({"init": where, "vocabulary": "wechsel", "vectors": "a"}, "vectors names 1 files; .* takes 2"),
        ({"init": where, "vocabulary": "random", "tokenizer": "gpt2"}, 'tokenizer is "gpt2"'),
    ):
        with pytest.raises(ValueError, match=said):
            method(**settings)
