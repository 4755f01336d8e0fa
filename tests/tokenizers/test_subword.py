import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.errors import DataError
from lowres.text.normalise import Normalisation, normalise
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.rules import Rules
from lowres.tokenizers.spec import Subword
from lowres.tokenizers.subword import RESERVED, SubwordTokenizer, train_subword

VIETNAMESE = (
    "Hà Nội là thủ đô của nước Cộng hòa xã hội chủ nghĩa Việt Nam.\n"
    "Sông Hồng chảy qua thành phố, ĐẸP nhất là vào mùa thu (tháng 9, tháng 10)!!!!\n"
    "Đà Nẵng, Huế và Cần Thơ là những thành phố lớn khác; UNESCO đã công nhận quần thể di tích Cố đô Huế năm 1993."
)
LATGALIAN = (
    "Latgola ir kulturviesturiskais nūvods Latvejis austrumūs.\n"
    "Rēzekne i Daugovpiļs ir leluokuos piļsātys. Latgalīšu volūda – viena nu baltu volūdu."
)
THAI = "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย\nภาษาไทยเขียนโดยไม่เว้นวรรคระหว่างคำ แต่เว้นวรรคระหว่างประโยค"
ARABIC = "اللُّغَةُ العَرَبِيَّةُ لغةٌ سامية،\nيتحدثها أكثر من ٤٠٠ مليون نسمة. می\u200cخواهم"
TEXTS = [VIETNAMESE, LATGALIAN, THAI, ARABIC]


@pytest.fixture(scope="module")
def tokenizer():
    return train_subword(TEXTS * 3, Subword(vocab_size=400, character_coverage=1.0), "vie")


@pytest.fixture(scope="module")
def with_bytes():
    spec = Subword(vocab_size=700, byte_fallback=True, model="bpe", character_coverage=1.0)
    return train_subword(TEXTS, spec, "vie")


@pytest.mark.parametrize("text", TEXTS, ids=["vie", "ltg", "tha", "ara"])
def test_real_texts_come_back(tokenizer, text):
    assert normalise(text, Normalisation()) == text
    ids = tokenizer.encode([text])[0]
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.unknown_bytes(text) == 0


@given(st.text())
def test_with_byte_pieces_every_text_comes_back(with_bytes, text):
    assert with_bytes.decode(with_bytes.encode([text])[0]) == text


@pytest.mark.parametrize(
    "text",
    [
        "xxmaj xxbos xxunk xxrep 4 a",
        "Xxmaj XXUP xxxmaj xxup",
        "<0x41> <unk> <s>",
        "a▁b",
        "\ufdd0\ufdd4",
        " a\n b\n\n",
        "\n",
    ],
)
def test_texts_that_look_like_pieces_come_back(with_bytes, text):
    ids = with_bytes.encode([text])[0]
    assert with_bytes.decode(ids) == text
    assert not {0, 1, 2, 3} & set(ids)


def test_reserved_pieces_have_the_documented_ids(tokenizer):
    assert tuple(tokenizer.pieces[:10]) == RESERVED
    assert (tokenizer.unk_id, tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)
    assert tokenizer.vocab_size == len(tokenizer.pieces) == len(set(tokenizer.pieces))


def test_a_capital_costs_one_mark_and_keeps_the_piece(tokenizer):
    plain, capital = tokenizer.encode(["nước là thành", "nước Là THÀNH"])
    assert [i for i in capital if i not in (4, 5)] == plain
    assert capital.count(4) == capital.count(5) == 1


def test_the_first_word_of_a_line_has_the_piece_it_has_within(tokenizer):
    alone, after, below = tokenizer.encode(["thành phố", "là thành phố", "là\nthành phố"])
    assert after[-len(alone) :] == below[-len(alone) :] == alone
    assert below[-len(alone) - 1] == RESERVED.index("\n")


def test_empty_text_has_no_ids(tokenizer):
    assert tokenizer.encode(["", "a", ""]) == [[], tokenizer.encode(["a"])[0], []]
    assert tokenizer.decode([]) == ""


def test_control_pieces_leave_nothing_and_unknown_ones_show(tokenizer):
    ids = tokenizer.encode(["là"])[0]
    assert tokenizer.decode([2, *ids, 3, 1, 1]) == "là"
    assert tokenizer.decode(tokenizer.encode(["là 漢字"])[0]) == "là \ufffd"


def test_unknown_bytes_are_those_that_are_hidden(tokenizer):
    assert tokenizer.unknown_bytes("là 漢字 là ж") == 3 + 3 + 2
    assert tokenizer.unknown_bytes("là") == 0


def test_two_trainings_give_the_same_bytes():
    spec = Subword(vocab_size=300)
    assert train_subword(TEXTS[:1], spec, "vie").model == train_subword(iter(TEXTS[:1]), spec, "vie").model


def test_a_small_corpus_gives_a_smaller_vocabulary():
    tokenizer = train_subword([VIETNAMESE], Subword(vocab_size=20000), "vie")
    assert len(set(VIETNAMESE)) < tokenizer.vocab_size < 1000


def test_long_lines_are_not_left_out():
    line = " ".join(f"qua{n}ng" for n in range(3000))
    assert "q" in "".join(train_subword([VIETNAMESE, line], Subword(vocab_size=300), "vie").pieces)
    assert len(line) > 4192


def test_more_characters_than_pieces_is_an_error():
    many = "".join(chr(0x4E00 + n) for n in range(400))
    with pytest.raises(DataError, match=r"vocab_size is 256.*\d+ are needed.*character_coverage"):
        train_subword([many], Subword(vocab_size=256, character_coverage=1.0), "zho")


@pytest.mark.parametrize("texts", [[], [""], ["\n"]])
def test_no_text_is_an_error(texts):
    with pytest.raises(DataError, match="no text to train"):
        train_subword(texts, Subword(), "vie")


def test_saved_and_loaded_it_is_the_same(with_bytes, tmp_path):
    with_bytes.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, SubwordTokenizer)
    assert loaded.rules == Rules("vie")
    assert loaded.encode(TEXTS) == with_bytes.encode(TEXTS)


def test_damaged_folders_are_named(tokenizer, tmp_path):
    with pytest.raises(DataError, match="no lowres_tokenizer.json"):
        load_tokenizer(tmp_path)
    tokenizer.save(tmp_path)
    (tmp_path / "spm.model").write_bytes(tokenizer.model[:1000])
    with pytest.raises(DataError, match="SentencePiece model"):
        load_tokenizer(tmp_path)
    (tmp_path / "spm.model").unlink()
    with pytest.raises(DataError, match="no such file"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_under_256_pieces_is_refused(tmp_path):
    train_subword(["một hai ba"], Subword(vocab_size=256), "vie").save(tmp_path)
    with pytest.raises(DataError, match="at least 256"):
        load_tokenizer(tmp_path)
