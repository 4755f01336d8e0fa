import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.text.normalise import Normalisation, _mended, normalise

PLAIN = Normalisation()
POLICIES = [
    Normalisation(unicode=form, straight_quotes=quotes, lowercase=lower)
    for form, quotes, lower in product(("NFC", "NFKC"), (False, True), (False, True))
]
TRICKY = st.sampled_from(
    "\r\n\t\x0b\x0c\x1c\x00\x85\xa0\u2028\u2029\u3000\ufeff\ud800\u200d¨…’“–Iİıeé\u0301\u0307ΣςǅAa "
)
TEXTS = st.text(st.one_of(st.characters(), TRICKY))


@given(TEXTS, st.sampled_from(POLICIES))
def test_normalise_is_idempotent(text, policy):
    once = normalise(text, policy)
    assert normalise(once, policy) == once


@given(TEXTS, st.sampled_from(POLICIES))
def test_only_single_spaces_and_single_line_breaks_are_left(text, policy):
    result = normalise(text, policy)
    assert {char for char in result if char.isspace()} <= {" ", "\n"}
    assert not any(pair in result for pair in ("  ", "\n\n", " \n", "\n "))
    assert result == result.strip()
    assert unicodedata.is_normalized(policy.unicode, result)
    result.encode("utf-8")


@given(TEXTS, st.sampled_from(POLICIES))
def test_line_by_line_is_the_whole_text_at_once(text, policy):
    assert normalise(text, policy) == _mended(text, policy)


def test_every_kind_of_line_break_becomes_one():
    assert normalise("a\r\nb\rc\n\n \t\nd\u2028e\x0cf", PLAIN) == "a\nb\nc\nd\ne\nf"


def test_no_two_words_are_joined():
    assert normalise("a\x0bb\x0cc\x85d\xa0e\u3000f\tg", PLAIN).split() == list("abcdefg")


def test_controls_go_without_a_trace():
    assert normalise("\ufeffH\x00\x07a\x9f\ud800\x1b", PLAIN) == "Ha"


@pytest.mark.parametrize("char", ["\u200c", "\u200d", "\u200b", "\u200e", "\u200f", "\u061c", "\u2066", "\ufffd"])
def test_what_scripts_need_stays(char):
    assert normalise(f"a{char}b", PLAIN) == f"a{char}b"


def test_decomposed_vietnamese_is_composed():
    text = "Tiếng Việt Đẹp"
    assert normalise(unicodedata.normalize("NFD", text), PLAIN) == text


def test_a_control_between_letter_and_mark_does_not_keep_them_apart():
    assert normalise("e\x00\u0301", PLAIN) == "é"


def test_policies_do_what_they_say():
    text = "“ĐẸP” – ﬁn…"
    assert normalise(text, PLAIN) == text
    assert normalise(text, Normalisation(straight_quotes=True)) == '"ĐẸP" - ﬁn...'
    assert normalise(text, Normalisation(lowercase=True)) == "“đẹp” – ﬁn…"
    assert normalise(text, Normalisation(unicode="NFKC")) == "“ĐẸP” – fin..."
