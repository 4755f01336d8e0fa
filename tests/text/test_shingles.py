import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.text.shingles import of_script, of_words, places, unspaced_length

THAI = "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย"
CHINESE = "北京市是中華人民共和國的首都是全國的政治中心"


def test_words_make_shingles_and_digits_are_masked():
    assert len(of_words("một hai ba bốn năm sáu")) == 2
    assert len(of_words("một hai ba bốn")) == 0
    assert (of_words("năm 1975 có 12 xã") == of_words("năm 2023 có 7 xã")).all()
    assert of_words("a b c d e") != of_words("b a c d e")


@pytest.mark.parametrize(
    ("text", "length"),
    [(THAI, 10), (CHINESE, 5), ("ភាសាខ្មែរ", 10), ("ພາສາລາວ", 10), ("これは日本語", 5),
     ("Tiếng Việt", None), ("한국어 글", None),
     ("Thủ đô của Thái Lan là Bangkok (กรุงเทพ)", None), ("1 2 3", None)],
)  # fmt: skip
def test_the_script_decides_whether_characters_or_words_make_a_shingle(text, length):
    assert unspaced_length(text) == length


def test_scripts_without_spaces_have_shingles_and_spaces_do_not_matter():
    assert len(of_script(THAI)) == len(THAI) - 9
    assert (of_script(THAI) == of_script(THAI.replace("และ", " และ "))).all()
    assert len(of_script(CHINESE)) == len(CHINESE) - 4


@pytest.mark.parametrize("text", ["một", "一", "ก", "ba từ thôi"])
def test_a_short_text_is_one_shingle(text):
    assert len(of_script(text)) == 1
    assert of_script(text) != of_script(text + "x")


@pytest.mark.parametrize("bits", [8, 20, 28])
def test_places_are_the_upper_bits_of_word_shingles_each_once(bits):
    text = "một hai ba bốn năm " * 9 + "sáu bảy tám 17 chín 2 mười " * 40
    wanted = np.unique(of_words(text) >> np.uint64(64 - bits))
    found, none = places([text, "bốn từ là ít"], bits)
    assert found.dtype == np.uint32 and found.tolist() == wanted.tolist()
    assert len(none) == 0


WORDS_OF_ALL_KINDS = st.sampled_from(["a", "b", "năm", "१२", "12", "x1y22z", "𐒠", "\n", "", "०", "\u3000", "c"])


@given(st.lists(st.lists(WORDS_OF_ALL_KINDS, max_size=20).map(" ".join), max_size=8))
def test_a_text_has_the_same_places_whatever_stands_beside_it(texts):
    together = places(texts, 16)
    assert [each.tolist() for each in together] == [places([text], 16)[0].tolist() for text in texts]
    masked = [" ".join(re.sub(r"\d+", "0", text).split()) for text in texts]
    assert [each.tolist() for each in together] == [each.tolist() for each in places(masked, 16)]
    assert [len(of_words(text)) for text in texts] == [max(0, len(text.split()) - 4) for text in texts]


@given(st.lists(st.text("abc12"), min_size=5, max_size=12))
def test_shingles_are_equal_where_the_words_are(words):
    words = [word for word in words if word]
    runs_of_words = [tuple(re.sub(r"\d+", "0", word) for word in words[k : k + 5]) for k in range(len(words) - 4)]
    assert len(set(of_words(" ".join(words)).tolist())) == len(set(runs_of_words))


def test_a_long_text_is_hashed_in_parts_at_white_space():
    words = [f"từ{chr(97 + k % 26)}{chr(97 + k % 7)}" for k in range(60_000)]
    text = " ".join(words)
    assert len(of_words(text)) == len(words) - 4
    here = of_words(" ".join(words[30_000:30_010]))
    assert (of_words(text)[30_000:30_006] == here).all()
    assert len(of_words("x" * 300_000 + " a b c d e")) == 2
    assert places([text, "a b c d e"], 16)[1].tolist() == places(["a b c d e"], 16)[0].tolist()


def test_shingles_are_the_same_in_every_process():
    code = "from lowres.text.shingles import of_words, places; t = 'a b c d e 17 f'; "
    code += "print(of_words(t).tolist(), places([t], 20)[0].tolist())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = (of_words("a b c d e 99 f").tolist(), places(["a b c d e 99 f"], 20)[0].tolist())
    assert there.strip() == f"{here[0]} {here[1]}"
