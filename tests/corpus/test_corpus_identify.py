import csv
from pathlib import Path

import pytest

from lowres.corpus.identify import CharacterNGrams, FastText, Lingua, foreign, identifier_for, iso_639_3, stride
from lowres.corpus.spec import Filters, LanguageFilter
from lowres.errors import DataError

VIETNAMESE = [
    "Sông Hồng chảy qua nhiều tỉnh ở miền Bắc và mang phù sa bồi đắp cho đồng bằng.",
    "Trường đại học được thành lập vào năm 1956 và có nhiều sinh viên theo học.",
    "Bài hát này do một nhạc sĩ nổi tiếng sáng tác trong thời kỳ kháng chiến.",
]
ENGLISH = [
    "The river flows through several provinces and carries silt to the delta.",
    "The university was founded in 1956 and has many students of the sciences.",
    "This song was written by a well known composer during the years of war.",
]
BOTH = {"vie": VIETNAMESE, "eng": ENGLISH}


def test_ngrams_tell_languages_they_learnt_and_sum_to_a_probability():
    learnt = CharacterNGrams.learn(BOTH)
    assert learnt.codes == ("eng", "vie")
    guesses = learnt(["The students of the river", "Nhiều sinh viên ở đồng bằng", "12345 !!!", ""])
    assert [code for code, _ in guesses] == ["eng", "vie", "und", "und"]
    assert all(0.9 < probability <= 1 for _, probability in guesses[:2])
    assert [probability for _, probability in guesses[2:]] == [0.0, 0.0]


def test_the_probability_of_a_mixed_page_is_about_the_share_of_a_language():
    english, vietnamese = ((" ".join(texts) + " ") * 20 for texts in (ENGLISH, VIETNAMESE))
    learnt = CharacterNGrams.learn(BOTH)
    for share in (0.6, 0.75, 0.95):
        cut = round(share * 4000)
        code, probability = learnt([english[:cut] + vietnamese[: 4000 - cut]])[0]
        assert code == "eng"
        assert probability == pytest.approx(share, abs=0.06)


def test_learning_does_not_depend_on_who_has_more_text():
    many = CharacterNGrams.learn({"vie": VIETNAMESE, "eng": ENGLISH * 500})
    few = CharacterNGrams.learn(BOTH)
    one, other = (each.log_probabilities.sum(axis=2) for each in (many, few))
    assert one.shape == other.shape == (4, 2)
    assert many(["Sinh viên", "Students"])[0][0] == "vie"


def test_ngrams_need_two_languages_with_letters():
    with pytest.raises(DataError, match="1 languages to tell apart"):
        CharacterNGrams.learn({"vie": VIETNAMESE})
    with pytest.raises(DataError, match="'eng' hold no letters"):
        CharacterNGrams.learn({"vie": VIETNAMESE, "eng": ["1 2 3 4"]})


def test_the_filter_keeps_what_nothing_can_be_said_of_and_what_is_accepted():
    texts = [VIETNAMESE[0], ENGLISH[0], "1975 – 1976"]
    settings, learnt = LanguageFilter(identifier="ngrams", against=("en/x",)), CharacterNGrams.learn(BOTH)
    assert foreign(texts, "vie", settings, learnt) == [False, True, False]
    assert foreign(texts, "eng", settings, learnt) == [True, False, False]
    assert not any(foreign(texts, "vie", settings.model_copy(update={"accept": ("eng",)}), learnt))
    assert foreign([], "vie", settings, learnt) == []


def test_any_callable_is_an_identifier():
    class Always:
        codes = None

        def __call__(self, texts):
            return [("swh", 0.8)] * len(texts)

    texts = [str(n) for n in range(3)]
    assert foreign(texts, "swa", LanguageFilter(), Always()) == [False] * 3
    assert foreign(texts, "swa", LanguageFilter(certainty=0.7), Always()) == [True] * 3
    assert foreign(texts, "swa", LanguageFilter(certainty=0.7, accept=("swh",)), Always()) == [False] * 3


def test_labels_of_other_identifiers_become_iso_639_3():
    labels = ("__label__vie_Latn", "__label__vi", "ltg", "__label__zh-Hant", "zz", "")
    assert [iso_639_3(label) for label in labels] == ["vie", "vie", "ltg", "zho", "und", "und"]


def test_samples_are_spread_and_2000_at_most():
    assert [stride(count) for count in (0, 6, 2000, 2001, 10_001)] == [1, 1, 1, 2, 6]
    assert all(1000 < len(range(0, count, stride(count))) <= 2000 for count in (2001, 3999, 10_001))


def test_settings_that_go_together_are_asked_for_together():
    with pytest.raises(ValueError, match="no ISO 15924 code"):
        LanguageFilter(script="Latin")
    with pytest.raises(ValueError, match="against"):
        LanguageFilter(identifier="ngrams")
    with pytest.raises(ValueError, match="model_sha256"):
        LanguageFilter(identifier="fasttext", model="lid.bin")


def test_a_models_place_is_not_hashed_and_filters_that_are_off_are_not_either():
    settings = dict(identifier="fasttext", model_sha256="0" * 64)
    here, there = (LanguageFilter(model=path, **settings).hashed() for path in ("a.bin", "b/c.bin"))
    assert here == there and here["model_sha256"] == "0" * 64
    assert set(Filters(near_duplicates=False).hashed()) == {"min_bytes", "stubs", "duplicates"}
    assert Filters(near_duplicates=0.8).hashed()["near_duplicates"] == 0.8
    assert Filters(language=LanguageFilter(script="Latn")).hashed()["language"]["script"] == "Latn"


def test_identifiers_that_cannot_serve_say_so(tmp_path):
    missing = LanguageFilter(identifier="fasttext", model=str(tmp_path / "lid.bin"), model_sha256="0" * 64)
    with pytest.raises(DataError, match="lid.bin: no such file"):
        identifier_for(missing, "vie", {})
    (tmp_path / "lid.bin").write_bytes(b"no model")
    with pytest.raises(DataError, match="model_sha256 says 0000"):
        identifier_for(missing, "vie", {})
    ngrams = LanguageFilter(identifier="ngrams", against=("en/x",))
    with pytest.raises(DataError, match="'ngrams' does not know 'ltg'"):
        identifier_for(ngrams, "ltg", BOTH)


def test_fasttext_and_lingua_are_asked_for_by_name_where_they_are_missing(tmp_path):
    for name, open_it in (("fasttext", lambda: FastText(tmp_path / "x.bin")), ("lingua", Lingua)):
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(DataError, match=f'identifier is "{name}", which is not installed: pip install'):
                open_it()


def test_lingua_serves_where_it_is_installed():
    pytest.importorskip("lingua")
    identifier = Lingua()
    assert [code for code, _ in identifier([VIETNAMESE[0], ENGLISH[0], ""])] == ["vie", "eng", "und"]
    with pytest.raises(DataError, match="'lingua' does not know 'ltg'"):
        identifier_for(LanguageFilter(identifier="lingua"), "ltg", {})


def test_a_file_that_is_no_model_is_one_clear_line(tmp_path):
    pytest.importorskip("fasttext")
    (tmp_path / "lid.bin").write_bytes(b"no model" * 20)
    with pytest.raises(DataError, match="fastText cannot read it"):
        FastText(tmp_path / "lid.bin")


def test_sentences_of_the_embedded_task_are_told_from_english(repository: Path):
    card = repository / "corpora/vi/mini_topics.toml"
    paths = sorted(card.parent.rglob("*.csv")) + sorted(card.parent.rglob("*.tsv"))
    assert paths
    with paths[0].open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t" if paths[0].suffix == ".tsv" else ",")][1:]
    texts = [max(row, key=len) for row in rows]
    learnt = CharacterNGrams.learn({"vie": texts[::2], "eng": ENGLISH * 4})
    guesses = [code for code, _ in learnt(texts[1::2])]
    assert guesses.count("vie") >= 0.98 * len(guesses)
