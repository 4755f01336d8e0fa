from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.errors import DataError
from lowres.text.treebank import Token, contractions, read_conllu, segmentation_scores
from lowres.text.words import Whitespace, score

REST = "\t_" * 7
SAMPLE = f"""# newdoc id = a
# text =misspelt
1-2\tmoo{REST}\t_
1\tmu{REST}\t_
2\ta{REST}\t_
3\tchủ tịch{REST}\tSpaceAfter=No
3.1\tempty{REST}\t_
4\t.{REST}\t_

1\tCi{REST}\t_

# newpar
1\tKajoor{REST}\tGloss=x|SpaceAfter=No
2\t.{REST}\t_
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "a.conllu"
    path.write_text(text, encoding="utf-8")
    return path


def test_tokens_contractions_spaces_and_paragraphs(tmp_path):
    one, other = read_conllu(write(tmp_path, SAMPLE))
    assert [paragraph.text for paragraph in (one, other)] == ["moo chủ tịch. Ci", "Kajoor."]
    assert one.sentences[0] == (
        Token("moo", ("mu", "a")),
        Token("chủ tịch", ("chủ tịch",), space_after=False),
        Token(".", (".",)),
    )
    assert contractions([one, other]) == {"moo": ("mu", "a")}


@pytest.mark.parametrize(("text", "line"), [("1\ta b\n", "line 1"), (SAMPLE + "\nx\ty" + REST + "\t_\n", "line 16")])
def test_what_is_no_conllu_is_named_by_its_line(tmp_path, text, line):
    with pytest.raises(DataError, match=line):
        read_conllu(write(tmp_path, text))


def test_a_file_without_sentences_is_refused(tmp_path):
    with pytest.raises(DataError, match="no sentences"):
        read_conllu(write(tmp_path, "# nothing\n"))


def token(text: str) -> Token:
    return Token(text, (text,))


def test_scores_by_hand():
    gold = [(token("sinh viên"), token("đi")), (token("."),)]
    found = [(token("sinh"), token("viên"), token("đi"), token("."))]
    scores = segmentation_scores(gold, found)
    assert scores.tokens == pytest.approx(2 * 2 / (3 + 4))
    assert scores.words == scores.tokens
    assert scores.sentences == 0


def test_the_words_of_a_contraction_count_by_their_longest_common_subsequence():
    gold = [(Token("moo", ("mu", "a")), token("nekk"))]
    found = [(Token("moo", ("Mu", "la", "a")), token("nekk"))]
    scores = segmentation_scores(gold, found)
    assert scores.tokens == 1
    assert scores.words == pytest.approx(2 * 3 / (3 + 4))  # mu, a, nekk
    plain = segmentation_scores(gold, [(token("moo"), token("nekk"))])
    assert plain.words == pytest.approx(2 * 1 / (3 + 2))


def test_texts_that_differ_are_refused():
    with pytest.raises(DataError, match="not of the same text"):
        segmentation_scores([(token("a"),)], [(token("b"),)])


PARTS = st.lists(st.lists(st.sampled_from("a b ab ba a_b".split()), min_size=1, max_size=5), min_size=1, max_size=5)


@given(PARTS)
def test_a_segmentation_agrees_with_itself(parts):
    sentences = [tuple(Token(text, tuple(text.split("_"))) for text in part) for part in parts]
    scores = segmentation_scores(sentences, sentences)
    assert (scores.tokens, scores.words, scores.sentences) == (1, 1, 1)


@pytest.mark.parametrize("text", ['Tôi nói: "Đi!" Rồi đi... (3,5 km) .', "", "...", "a", "«Kaay!» mu ne."])
def test_white_space_gives_the_text_back(text):
    (sentences,) = Whitespace().paragraphs([text])
    assert "".join(t.text + " " * t.space_after for s in sentences for t in s).rstrip() == text


def test_white_space_parts_punctuation_and_sentences():
    (sentences,) = Whitespace().paragraphs(['"Đi!" Nó đi 3,5 km.'])
    assert [[t.text for t in s] for s in sentences] == [['"', "Đi", "!", '"'], ["Nó", "đi", "3,5", "km", "."]]


def test_white_space_on_a_treebank(treebank):
    paragraphs = read_conllu(treebank.parent / "test.conllu")
    scores = score(Whitespace(), paragraphs)
    assert scores.sentences == 1
    assert 0 < scores.words < scores.tokens < 1
