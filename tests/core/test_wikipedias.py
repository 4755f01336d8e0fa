import unicodedata

import pycountry
import pytest

from lowres.cards import check_language
from lowres.errors import RecipeError
from lowres.wikipedias import editions, find_edition

EDITIONS = 364
RIGHT_TO_LEFT = {"Arab", "Hebr", "Syrc", "Thaa", "Nkoo"}
# The words with which Unicode's names of a script's letters begin.
LETTERS = {
    "Hani": "CJK", "Jpan": "CJK", "Kore": "HANGUL", "Cans": "CANADIAN", "Beng": "BENGALI", "Sylo": "SYLOTI",
    "Tale": "TAI", "Olck": "OL", "Mtei": "MEETEI", "Tfng": "TIFINAGH", "Nkoo": "NKO", "Orya": "ORIYA",
}  # fmt: skip
WIKI_TO_ISO = {
    "vi": "vie", "zh-yue": "yue", "simple": "eng", "be-tarask": "bel", "als": "gsw", "bat-smg": "sgs", "fiu-vro": "vro",
    "roa-rup": "rup", "cbk-zam": "cbk", "zh-min-nan": "nan", "zh-classical": "lzh", "no": "nob", "sh": "hbs",
    "nds-nl": "nds", "map-bms": "jav", "roa-tara": "nap", "bh": "bho", "nrm": "nrf", "zh": "zho", "so": "som",
}  # fmt: skip
DATABASES = {
    "vi": "viwiki",
    "zh-yue": "zh_yuewiki",
    "be-tarask": "be_x_oldwiki",
    "simple": "simplewiki",
    "no": "nowiki",
}


def test_every_edition_is_there_once():
    assert len(editions()) == EDITIONS
    for key in ("wiki", "database"):
        assert len({getattr(edition, key) for edition in editions()}) == EDITIONS
    assert [edition.wiki for edition in editions()] == sorted(edition.wiki for edition in editions())


def test_codes_are_those_of_the_standards():
    for edition in editions():
        if edition.iso != "unknown":
            check_language(edition.iso)
        assert pycountry.scripts.get(alpha_4=edition.script) is not None, edition
        assert edition.direction == ("rtl" if edition.script in RIGHT_TO_LEFT else "ltr"), edition
        assert edition.name and edition.endonym == unicodedata.normalize("NFC", edition.endonym.strip())


def test_a_two_letter_code_is_what_iso_says_but_where_it_is_not():
    for edition in editions():
        known = pycountry.languages.get(alpha_2=edition.wiki) if len(edition.wiki) == 2 else None
        if known is not None and edition.wiki != "no":
            assert edition.iso == known.alpha_3
        if len(edition.wiki) == 3 and edition.wiki not in ("als", "nrm"):
            assert edition.iso in (edition.wiki, "unknown")


def test_irregular_codes():
    by_wiki = {edition.wiki: edition for edition in editions()}
    assert {wiki: by_wiki[wiki].iso for wiki in WIKI_TO_ISO} == WIKI_TO_ISO
    assert {wiki: by_wiki[wiki].database for wiki in DATABASES} == DATABASES
    regular = {wiki: wiki.replace("-", "_") + "wiki" for wiki in by_wiki if wiki != "be-tarask"}
    assert {wiki: by_wiki[wiki].database for wiki in regular} == regular
    assert {edition.wiki for edition in editions() if edition.iso == "unknown"} == {"eml", "nah"}


def test_an_endonym_is_written_in_its_script():
    for edition in editions():
        letters = [letter for letter in edition.endonym if letter.isalpha()]
        name = pycountry.scripts.get(alpha_4=edition.script).name.upper()
        begins = LETTERS.get(edition.script, name.split()[0])
        assert begins in unicodedata.name(letters[0]).replace("-", " ").split(), (edition, unicodedata.name(letters[0]))


@pytest.mark.parametrize(
    ("code", "wiki"), [("vie", "vi"), ("vi", "vi"), ("yue", "zh-yue"), ("gsw", "als"), ("en", "en")]
)
def test_an_edition_is_found_by_its_own_code_or_the_languages(code, wiki):
    found = find_edition(code)
    assert found is not None and found.wiki == wiki


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("eng", ["'en'", "'simple'"]),
        ("jav", ["'jv'", "'map-bms'"]),
        ("als", ["Alemannic", "'gsw'", "Tosk Albanian"]),
        ("nah", ["Nahuatl", "no single ISO 639-3 code"]),
        ("be-taras", ["'be-tarask'"]),
        ("Somali", ["'som'"]),
    ],
)
def test_what_could_mean_two_things_is_not_guessed(code, words):
    with pytest.raises(RecipeError) as refused:
        find_edition(code)
    assert len(refused.value.faults) == 1
    assert all(word in str(refused.value) for word in words)


def test_a_language_without_a_wikipedia_is_none():
    assert find_edition("tlh") is None
