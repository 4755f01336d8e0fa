import pytest

from lowres.artifacts import Cost
from lowres.experiment.records import LanguageModelRecord
from lowres.report import format as fmt


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.6123, False, ".612"), (1.0, False, "1.000"), (-0.0101, False, "-.010"), (0.0124, True, "+.012"),
     (-0.0001, True, ".000"), (0.9996, False, "1.000"), (-1.0, True, "-1.000")],
)  # fmt: skip
def test_scores(value: float, signed: bool, text: str) -> None:
    assert fmt.score(value, signed) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(6_020_000, "", "6.02 M"), (6_050_658_304, "", "6.05 B"), (999_700, "", "1 M"), (412, "B", "412 B"),
     (1_200_000_000, "B", "1.2 GB"), (None, "B", "-"), (3, "", "3")],
)  # fmt: skip
def test_large_numbers(value: float | None, unit: str, text: str) -> None:
    assert fmt.large(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (42.2, "42 s"), (200, "3 min 20 s"), (4320, "1 h 12 min"), (3599.7, "1 h 0 min"), (None, "-")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert fmt.duration(seconds) == text


def test_shares() -> None:
    assert [fmt.percent(share) for share in (0.0031, 0.123, 1.0, 0.0, None)] == ["0.31 %", "12 %", "100 %", "0 %", "-"]


def test_label_counts() -> None:
    assert fmt.labels(100, 100) == "100 labels"
    assert fmt.labels(1, 1) == "1 label"
    assert fmt.labels("full", 11_426) == "all 11,426 labels"
    assert fmt.labels("full", None) == "all labels"


@pytest.mark.parametrize(
    ("origin", "name"),
    [("from scratch", "GPT-J architecture, 5.87 M, from scratch"),
     ("pretrained weights " + "ab" * 32, "GPT-J architecture, 5.87 M, pretrained weights abababababab")],
)  # fmt: skip
def test_a_model_is_named_by_architecture_size_and_origin(origin: str, name: str) -> None:
    model = LanguageModelRecord(
        id="x", method="gptj", family="gptj", architecture="GPT-J, 4 layers of 256", parameters=5_870_000,
        origin=origin, tokenizer="SentencePiece unigram", vocab_size=8000, bits_per_byte=None, nats_per_token=None,
        fertility=None, tokens_per_byte=None, unknown_rate=None, held_out_bytes=None, cost=Cost(),
    )  # fmt: skip
    assert fmt.model_name(model) == name
