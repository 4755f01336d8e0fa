import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.errors import DataError
from lowres.text.normalise import Normalisation, normalise
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.rules import Rules
from lowres.tokenizers.spec import Words
from lowres.tokenizers.subword import RESERVED
from lowres.tokenizers.words import Speller, WordTokenizer, train_words

FILLER = " ".join(f"w{n} w{n}" for n in range(300))


def trained(texts, segmenter=None, **settings):
    return train_words([texts], Words(**{"vocab_size": 400, **settings}), "vie", segmenter)


def pieces(tokenizer, text):
    return [tokenizer.pieces[i] for i in tokenizer.encode([text])[0]]


def test_marks_punctuation_lines_and_unknown_words():
    tokenizer = trained(["tôi ăn cơm. tôi ăn cơm. hà hà"])
    assert pieces(tokenizer, "Tôi ĂN phở.\nTôi") == (
        ["xxmaj", " tôi", "xxup", " ăn", "xxunk", ".", "\n", "xxmaj", " tôi"]
    )
    assert pieces(tokenizer, "hà hà hà hà hà") == ["xxwrep", "xxunk", " hà"]  # the count, 5, is not in the vocabulary
    assert tokenizer.encode([""]) == [[]]
    assert tokenizer.unknown_bytes("Tôi ĂN phở.") == len(" phở".encode())


def test_the_most_frequent_words_are_kept_and_ties_are_broken_by_letters():
    tokenizer = trained(["b b b a a d d c"], vocab_size=256, min_count=2)
    assert tokenizer.pieces == [*RESERVED, " b", " a", " d"]
    assert len(trained([FILLER], vocab_size=256).pieces) == 256


def test_a_text_of_known_words_comes_back(tmp_path):
    text = 'Hà Nội, "Tôi" đi 5 km...\nẤY aaaaaa ﷐ xxmaj ▁ rất rất rất rất tốt (USA)'
    tokenizer = trained([f"{text}\n{text}\n{FILLER}"])
    assert tokenizer.decode(tokenizer.encode([text])[0]) == text
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.encode([text]) == tokenizer.encode([text])
    assert (again.vocab_size, again.decode(again.encode([text])[0])) == (tokenizer.vocab_size, text)


LETTERS = st.text(st.sampled_from("aAbBđĐẤ1.,-\"' \n\ufdd0\ufdd4▁x"), max_size=30)


@given(LETTERS)
def test_spelling_loses_nothing(raw):
    text = normalise(raw, Normalisation())
    rules = Rules("vie")
    (parts,) = Speller(rules, None).spelt([text])
    assert rules.unmark("".join(parts)).removeprefix(" ").replace("\n ", "\n") == text


def test_words_of_a_segmenter_hold_spaces_and_travel_with_it(toy_segmenter, tmp_path):
    out, saved = tmp_path / "segmenter", tmp_path / "tokenizer"
    shutil.copytree(toy_segmenter.out, out)
    saved.mkdir()
    text = "Sinh viên thấy Hà Nội đi dzậy. Nó mua máy bay."
    tokenizer = trained([f"{text} {text} {FILLER}"], segmenter=out)
    tokenizer.save(saved)
    shutil.rmtree(out)  # the folder of the tokenizer is all that is needed
    again = load_tokenizer(saved)
    assert isinstance(again, WordTokenizer)
    shown = pieces(again, text)
    assert shown[:4] == ["xxmaj", " sinh viên", " thấy", " Hà Nội"]
    assert " máy bay" in shown
    assert again.decode(again.encode([text])[0]) == text


def test_a_corpus_without_text_and_a_folder_without_words_are_refused(tmp_path):
    with pytest.raises(DataError, match="no text to take words from"):
        trained(["", "\n"])
    trained([FILLER]).save(tmp_path)
    (tmp_path / "words.json").unlink()
    with pytest.raises(DataError, match=r"words\.json: no such file"):
        load_tokenizer(tmp_path)
