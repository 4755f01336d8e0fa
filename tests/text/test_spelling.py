import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.text.normalise import Normalisation, normalise
from lowres.text.spelling import tone_marks

TRICKY = st.sampled_from("aeouyAEOUỴ́̀̉̃hqgitHQGI’‘ʼ'|| ।॥अमि१٣０ＡĐđøǿ\u00ad\u200b\u200d\u200e\u2060 `´\n")
TEXTS = st.text(st.one_of(TRICKY, st.characters()))
POLICIES = st.builds(
    Normalisation,
    unicode=st.sampled_from(["NFC", "NFKC"]),
    straight_quotes=st.booleans(),
    lowercase=st.booleans(),
    ascii_forms=st.booleans(),
    apostrophes=st.booleans(),
    dandas=st.booleans(),
    digits=st.sampled_from(["keep", "ascii", "mask"]),
    tone_marks=st.sampled_from(["keep", "old", "new"]),
    strip_diacritics=st.booleans(),
    drop_invisible=st.booleans(),
)


@given(TEXTS, POLICIES)
def test_every_policy_is_idempotent_and_normal(text, policy):
    once = normalise(text, policy)
    assert normalise(once, policy) == once
    assert unicodedata.is_normalized(policy.unicode, once)
    assert once == once.strip() and "  " not in once


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hòa", "hoà"), ("HÒA", "HOÀ"), ("Hòa", "Hoà"), ("khỏe", "khoẻ"), ("thúy", "thuý"), ("Ủy ban", "Uỷ ban"),
        ("đại úy", "đại uý"), ("òa", "oà"), ("họa sĩ", "hoạ sĩ"), ("xõa", "xoã"), ("Đóa", "Đoá"), ("góa", "goá"),
    ],
)  # fmt: skip
def test_the_two_schools(old, new):
    for school, wanted in (("old", old), ("new", new)):
        assert tone_marks(old, school) == tone_marks(new, school) == wanted
        decomposed = unicodedata.normalize("NFD", f"({old}, {new})")
        assert normalise(decomposed, Normalisation(tone_marks=school)) == f"({wanted}, {wanted})"


@pytest.mark.parametrize(
    "word", "quý quỳ quà giá giò gì hoàn toán ngoài khuỷu khuya chúa của mùa tuyết Chloé hoa hoaà".split()
)
def test_what_both_schools_write_alike_stays(word):
    assert tone_marks(word, "old") == tone_marks(word, "new") == word


@pytest.mark.parametrize(
    ("policy", "text", "result"),
    [
        ({"ascii_forms": True}, "ＡＢＣ，１２ 。", "ABC,12 。"),
        ({"apostrophes": True}, "l’eau l‘eau o´clock ʻokina ‘a’ dogs’", "l'eau l'eau o'clock ʻokina ‘a’ dogs’"),
        ({"dandas": True}, "मूलम् | प्रचक्षते||{ a|b ||", "मूलम् । प्रचक्षते॥{ a|b ||"),
        ({"digits": "ascii"}, "२०१ ٣ x² 5", "201 3 x² 5"),
        ({"digits": "mask"}, "२०१ ٣ x² 5", "000 0 x² 0"),
        ({"strip_diacritics": True}, "Đắk Lắk Łódź naïve कि กี่ й", "Dak Lak Lodz naive कि กี่ и"),
        ({"drop_invisible": True}, "a\u200bb\u00adc\u200ed \u0915\u094d\u200d\u0937", "abcd \u0915\u094d\u200d\u0937"),
    ],
)
def test_an_option_does_what_it_says_and_is_off(policy, text, result):
    assert normalise(text, Normalisation(**policy)) == result
    assert normalise(text, Normalisation()) == text


def test_old_policies_keep_their_hash():
    assert Normalisation(lowercase=True).hashed() == {"unicode": "NFC", "straight_quotes": False, "lowercase": True}
