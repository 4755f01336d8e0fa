import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.artifacts import Corpus
from lowres.metrics.bits import HeldOutLoss, held_out_texts, text_sizes


def test_hidden_bytes_are_charged_eight_bits_each():
    loss = HeldOutLoss(nats=10 * math.log(2), tokens=5, unknown_tokens=1, unknown_bytes=3, text_bytes=17, words=4)
    assert loss.bits_per_byte == pytest.approx((10 + 24) / 17)
    assert loss.facts()["fertility"] == 1.25 and loss.facts()["unknown_rate"] == 0.2


def test_a_uniform_byte_model_scores_eight_bits():
    loss = HeldOutLoss(nats=100 * math.log(256), tokens=100, unknown_tokens=0, unknown_bytes=0, text_bytes=100, words=1)
    assert loss.bits_per_byte == pytest.approx(8)


def test_held_out_texts_end_with_the_document_that_crosses_the_limit(tmp_path):
    pq.write_table(pa.table({"text": ["đđ", "bb", "cc"]}), tmp_path / "test.parquet")
    corpus = Corpus(tmp_path)
    assert held_out_texts(corpus, 1) == ["đđ"]
    assert held_out_texts(corpus, 5) == ["đđ", "bb"]
    assert held_out_texts(corpus, 99) == ["đđ", "bb", "cc"]
    assert text_sizes(["đđ x", "y"]) == (7, 3)
