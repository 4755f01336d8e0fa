"""ULMFiT over whole words that a segmenter tells, from the tokenizer to a prediction."""

import shutil

import numpy as np
import pytest

from lowres.families.contract import EvaluateSpec, picked
from lowres.families.ulmfit import classify, generate, stages
from lowres.families.ulmfit.spec import READ_LM, ClassifierSpec, InitSpec, PretrainSpec, _read
from lowres.tokenizers.spec import FertilitySpec, PackSpec, Words, WordTokenizerSpec
from lowres.tokenizers.stages import measure_fertility, pack_tokens, train_word_tokenizer

LM = PretrainSpec(emb_size=16, n_hid=16, n_layers=1, batch_size=8, bptt=24, epochs=1, seed=0)
CLASSIFIER = ClassifierSpec(last_epochs=1, min_steps=1, unfreezing="all", seed=0)


@pytest.fixture
def segmenter(toy_segmenter, tmp_path):
    folder = tmp_path / "segmenter"
    shutil.copytree(toy_segmenter.out, folder)
    return folder


def test_words_from_the_corpus_to_a_prediction(corpus, task, subset, segmenter, new_run):
    words, packed, lm, scored, trained = map(new_run, ("words", "packed", "lm", "scored", "classifier"))
    spec = WordTokenizerSpec(words=Words(min_count=1), language="vie")
    train_word_tokenizer({"corpus": corpus, "segmenter": segmenter}, spec, words)
    shutil.rmtree(segmenter)  # it travels with the tokenizer
    tokens = {"tokenizer": words.out}
    pack_tokens({"corpus": corpus, **tokens}, PackSpec(), packed)
    assert packed.facts["unknown_rate"]["train"] == 0 < packed.facts["unknown_rate"]["valid"]
    stages.pretrain_lm({"packed": packed.out, **tokens}, LM, lm)
    stages.evaluate_lm({"lm": lm.out, "corpus": corpus}, EvaluateSpec(held_out_bytes=1000), scored)
    assert 0 < scored.facts["bits_per_byte"] < 16
    stages.train_classifier({"task": task, "subset": subset, "lm_forward": lm.out}, CLASSIFIER, trained)
    classifier = classify.load(trained.out)
    again = classifier.tokenizer.encode(["giảng viên rất hay"])
    assert again == generate.load(lm.out).tokenizer.encode(["giảng viên rất hay"])
    assert np.allclose(classifier.predict_proba(["giảng viên rất hay", ""]).sum(1), 1, atol=1e-5)


def test_a_model_folder_is_read_with_its_segmenter(corpus, segmenter, new_run):
    words, lm, read = map(new_run, ("words", "lm", "read"))
    spec = WordTokenizerSpec(words=Words(min_count=1), language="vie")
    train_word_tokenizer({"corpus": corpus, "segmenter": segmenter}, spec, words)
    stages.init_lm({"tokenizer": words.out}, InitSpec(**picked(LM, InitSpec)), lm)
    node = _read(lm.out)
    assert node.stage is READ_LM
    stages.read_lm_folder({}, node.spec, read)
    assert (read.out / "tokenizer/segmenter.safetensors").is_file()


def test_fertility_by_white_space_and_by_a_segmenter(corpus, tokenizer, segmenter, new_run):
    by_space, by_segmenter = new_run("space"), new_run("segmenter")
    inputs = {"corpus": corpus, "tokenizer": tokenizer}
    measure_fertility(inputs, FertilitySpec(), by_space)
    measure_fertility({**inputs, "segmenter": segmenter}, FertilitySpec(), by_segmenter)
    one, other = by_space.facts, by_segmenter.facts
    same = ("fertility", "tokens_per_character", "tokens_per_byte", "unknown_rate")
    assert all(one[name] == other[name] for name in same)
    assert one["tokens_per_byte"] < one["tokens_per_character"] < 1 < one["segmented_fertility"] < one["fertility"]
    assert other["segmented_fertility"] != one["segmented_fertility"]
