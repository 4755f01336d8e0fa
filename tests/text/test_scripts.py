import unicodedata

import numpy as np
import pytest

from lowres.text.scripts import code_points, known_script, lettered, script_counts, share_in_script


def test_scripts_are_counted_by_letters_the_most_frequent_first():
    assert script_counts("Đường số 17, θ!") == {"Latn": 7, "Grek": 1}
    assert script_counts("१२३ 123 ...") in ({}, {"Deva": 3})
    assert list(script_counts("ภาษาไทย abc")) == ["Thai", "Latn"]
    assert script_counts("") == {}


def test_the_share_in_a_script_takes_combined_codes_apart():
    assert share_in_script("日本語のテキスト", "Jpan") == 1.0
    assert share_in_script("日本語のテキスト", "Hani") == pytest.approx(3 / 8)
    assert share_in_script("한국어 漢字", "Kore") == 1.0
    assert share_in_script("abcd где", "Latn") == pytest.approx(4 / 7)
    assert share_in_script("2 + 2 = 4", "Cyrl") == 1.0


def test_codes_that_name_no_script_are_not_known():
    assert all(map(known_script, ("Latn", "Jpan", "Hant", "Khmr")))
    assert not any(map(known_script, ("Zyyy", "Zinh", "Xxxx", "latin")))


def test_every_assigned_letter_is_lettered_but_for_those_that_scripts_share():
    text = "aếжक์กาখ漢ひ가"
    assert lettered(code_points(text)).all()
    assert not lettered(code_points("0 \n.,;-–“”‘…€\u0301")).any()
    assert unicodedata.name(chr(int(np.max(code_points("\U0001f600"))))) == "GRINNING FACE"
