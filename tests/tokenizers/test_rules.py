import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.tokenizers.rules import ESC, MAJ, REP, SPACE_SYMBOL, UP, WREP, Rules

LETTERS = {MAJ: "<maj>", UP: "<up>", REP: "<rep>", WREP: "<wrep>", ESC: "<esc>"}
TRICKY = st.sampled_from(
    ["A", "a", "ı", "İ", "I", "i", "ß", "ẞ", "Σ", "σ", "ς", "ǅ", "Ǆ", "ŉ", "Ა", "Ẹ̀", "\u0307", "_"]
)
MORE = st.sampled_from([*LETTERS, SPACE_SYMBOL, " ", "\n", "0", "4", "ha ha ha ha", "!!!!", "AAAA ", "xxmaj", "Xxup"])
TEXTS = st.lists(st.one_of(TRICKY, MORE, st.text(st.characters(), max_size=3))).map("".join)
RULES = st.builds(Rules, st.sampled_from(["vie", "tur"]), st.booleans(), st.booleans())


def shown(text, language="vie"):
    """The marked text with readable marks, after checking that it can be undone."""
    rules = Rules(language)
    marked = rules.mark(text)
    assert rules.unmark(marked) == text
    for mark, name in LETTERS.items():
        marked = marked.replace(mark, name)
    return marked


@given(TEXTS, RULES)
def test_every_text_comes_back(text, rules):
    assert rules.unmark(rules.mark(text)) == text


@given(st.text(st.sampled_from("aA!4 \nhÀ"), max_size=40), RULES)
def test_repetitive_texts_come_back(text, rules):
    assert rules.unmark(rules.mark(text)) == text


@given(st.lists(st.sampled_from([MAJ, UP, REP, WREP, " ", "4", "12", "a", "B", "\n"])).map("".join), RULES)
def test_marks_that_a_model_strews_never_reach_the_text(marked, rules):
    assert not set(rules.unmark(marked)) & set(LETTERS)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Hà", "<maj>hà"),
        ("Đà Nẵng", "<maj>đà<maj> nẵng"),
        ("ĐẸP", "<up>đẹp"),
        ("đường Lê Lợi", "đường<maj> lê<maj> lợi"),
        ("(UNESCO)", "(<up>unesco)"),
        ("A và Á", "<maj>a và<maj> á"),
        ("Ẹ̀kọ́ ẸKỌ́", "<maj>ẹ̀kọ́<up> ẹkọ́"),
        ("H2O", "<up>h2o"),
        ("Москва США", "<maj>москва<up> сша"),
        ("Straße STRASSE", "<maj>straße<up> strasse"),
        ("ΟΔΟΣ Οδός Σ", "<up>οδος<maj> οδός<maj> σ"),
        ("ǅungla", "<maj>ǆungla"),
    ],
)
def test_capitals_become_marks(text, marked):
    assert shown(text) == marked


@pytest.mark.parametrize("text", ["McDonald", "iPhone", "STRAßE", "STRAẞE", "İstanbul", "Ǆungla", "4GB", "hà"])
def test_what_cannot_be_given_back_is_left_alone(text):
    assert shown(text) == text


def test_turkish_capitals_go_by_the_language():
    assert shown("İstanbul Isparta IŞIK DİL", "tur") == "<maj>istanbul<maj> ısparta<up> ışık<up> dil"
    assert shown("Isparta IŞIK", "vie") == "<maj>isparta<up> işik"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("hay!!!", "hay!!!"),
        ("hay!!!!", "hay<rep>4 !"),
        ("ngooooon", "ng<rep>5 on"),
        ("AAAAA", "<rep>5<maj> a"),
        ("77777", "<rep>5 7"),
        ("vui ha ha ha", "vui ha ha ha"),
        ("vui ha ha ha ha, hà", "vui<wrep> 4 ha, hà"),
        ("haha ha ha ha hay", "haha ha ha ha hay"),
        ("NO NO NO NO", "<wrep>4<up> no"),
    ],
)
def test_repetitions_become_marks(text, marked):
    assert shown(text) == marked


def test_long_repetitions_are_cut_so_that_counts_stay_small():
    assert shown("-" * 2500) == "<rep>999 -<rep>999 -<rep>502 -"


def test_rules_can_be_switched_off():
    assert Rules("vie", case=False).mark("Hà!!!!") == f"Hà{REP}4 !"
    assert Rules("vie", repetition=False).mark("Hà!!!!") == f"{MAJ}hà!!!!"


def test_the_texts_own_noncharacters_are_escaped():
    assert shown(f"{MAJ}hà{SPACE_SYMBOL}") == "<esc>0hà<esc>5"


def test_marks_in_strange_places_are_dropped():
    assert Rules("vie").unmark(f"hà{MAJ} {REP}x{WREP}12{UP}!") == "hà x12!"


def test_a_model_cannot_ask_for_gigabytes():
    assert len(Rules("vie").unmark(f"{WREP}999 {REP}999 a")) < 2_000_000
    assert len(Rules("vie").unmark(f"{REP}99999999 a")) < 20
