import subprocess
import sys

import numpy as np
import pytest

from lowres.text.shingles import Shingles, unspaced_length

THAI = "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย"
CHINESE = "北京市是中華人民共和國的首都是全國的政治中心"


def test_words_make_shingles_and_digits_are_masked():
    shingles = Shingles()
    assert len(shingles.words("một hai ba bốn năm sáu")) == 2
    assert len(shingles.words("một hai ba bốn")) == 0
    assert (shingles.words("năm 1975 có 12 xã") == shingles.words("năm 2023 có 7 xã")).all()
    assert shingles.words("a b c d e") != shingles.words("b a c d e")


@pytest.mark.parametrize(
    ("text", "length"),
    [(THAI, 10), (CHINESE, 5), ("ភាសាខ្មែរ", 10), ("ພາສາລາວ", 10), ("これは日本語", 5),
     ("Tiếng Việt", None), ("한국어 글", None),
     ("Thủ đô của Thái Lan là Bangkok (กรุงเทพ)", None), ("1 2 3", None)],
)  # fmt: skip
def test_the_script_decides_whether_characters_or_words_make_a_shingle(text, length):
    assert unspaced_length(text) == length


def test_scripts_without_spaces_have_shingles_and_spaces_do_not_matter():
    shingles = Shingles()
    assert len(shingles.of_script(THAI)) == len(THAI) - 9
    assert (shingles.of_script(THAI) == shingles.of_script(THAI.replace("และ", " และ "))).all()
    assert len(shingles.of_script(CHINESE)) == len(CHINESE) - 4


@pytest.mark.parametrize("text", ["một", "一", "ก", "ba từ thôi"])
def test_a_short_text_is_one_shingle(text):
    assert len(Shingles().of_script(text)) == 1
    assert Shingles().of_script(text) != Shingles().of_script(text + "x")


@pytest.mark.parametrize("bits", [8, 20, 28])
def test_places_are_the_upper_bits_of_word_shingles_each_once(bits):
    text = "một hai ba bốn năm " * 9 + "sáu bảy tám 17 chín 2 mười " * 40
    wanted = np.unique(Shingles().words(text) >> np.uint64(64 - bits))
    found = Shingles().places(text, bits)
    assert found.dtype == np.uint32 and found.tolist() == wanted.tolist()
    assert len(Shingles().places("bốn từ là ít", bits)) == 0


def test_shingles_are_the_same_in_every_process():
    code = "from lowres.text.shingles import Shingles; s = Shingles(); t = 'a b c d e 17 f'; "
    code += "print(s.words(t).tolist(), s.places(t, 20).tolist())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = (Shingles().words("a b c d e 99 f").tolist(), Shingles().places("a b c d e 99 f", 20).tolist())
    assert there.strip() == f"{here[0]} {here[1]}"
