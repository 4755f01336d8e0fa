import pytest
import torch
from safetensors.torch import load_file

from lowres.artifacts import Run, read_json, write_json
from lowres.cards import TreebankCard, read_card
from lowres.errors import DataError, Stopped
from lowres.text import stages
from lowres.text.segment import Segmenter
from lowres.text.spec import SEGMENTER_FILES, SegmenterSettings, segmenter_at, trained_segmenter

SMALL = SegmenterSettings(steps=12, eval_steps=4, batch_size=8, lr=2e-2, emb_dim=8, hidden_dim=16)


def run_stage(card, out, settings, stop_after=None):
    """The stage's Run, after it ran; stop_after: it is told to stop at that step."""
    out.mkdir(exist_ok=True)
    found, path = read_card(str(card), TreebankCard)
    spec = trained_segmenter(found, settings).spec
    work = out.with_name(out.name + ".work")
    work.mkdir(exist_ok=True)
    seen = []
    run = Run(
        out=out,
        work=work,
        seed=0,
        files={file.pinned: path.parent / str(file.path) for file in found.files},
        on_progress=lambda done, *_: seen.append(done),
        stop_requested=lambda: stop_after is not None and seen[-1] >= stop_after,
    )
    stages.train_segmenter({}, spec, run)
    return run


def test_it_learns_words_that_hold_spaces(toy_segmenter):
    scores, plain = toy_segmenter.facts["scores"]["test"], toy_segmenter.facts["whitespace"]["test"]
    assert scores["token_f1"] > 0.95 > plain["token_f1"]
    assert scores["word_f1"] > 0.95
    assert scores["sentence_f1"] > 0.95


def test_tokens_give_the_text_back_and_contractions_their_words(toy_segmenter):
    segmenter = Segmenter.load(toy_segmenter.out)
    texts = ["nó thấy sinh viên đi dzậy.", "", "tôi mua máy bay. tôi ăn."]
    one, empty, two = segmenter.paragraphs(texts)
    assert empty == ()
    assert [token.text for token in one[0]] == ["nó", "thấy", "sinh viên", "đi", "dzậy", "."]
    assert one[0][4].words == ("như", "vậy")
    assert len(two) == 2
    for text, sentences in zip(texts, (one, empty, two), strict=True):
        assert "".join(t.text + " " * t.space_after for s in sentences for t in s).rstrip() == text


def test_strange_and_long_texts_come_back_whole(toy_segmenter):
    segmenter = Segmenter.load(toy_segmenter.out)
    texts = ["漢字 \u200b x", "\x85 a\u3000b <PAD>", ".", "sinh viên " * 300 + "đi."]
    for text, sentences in zip(texts, segmenter.paragraphs(texts), strict=True):
        together = "".join(token.text for sentence in sentences for token in sentence)
        assert "".join(together.split()) == "".join(text.split())


def test_a_stopped_training_goes_on_to_the_same_weights(treebank, tmp_path):
    whole = run_stage(treebank, tmp_path / "whole", SMALL)
    with pytest.raises(Stopped):
        run_stage(treebank, tmp_path / "cut", SMALL, stop_after=6)
    again = run_stage(treebank, tmp_path / "cut", SMALL)
    one, other = (load_file(run.out / "segmenter.safetensors") for run in (whole, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole.out / "segmenter.json").read_bytes() == (again.out / "segmenter.json").read_bytes()


def test_a_folder_is_read_and_checked(toy_segmenter, tmp_path):
    node = segmenter_at(toy_segmenter.out)
    run = Run(out=tmp_path, work=tmp_path, seed=0)
    stages.read_segmenter({}, node.spec, run)
    assert all((tmp_path / name).read_bytes() == (toy_segmenter.out / name).read_bytes() for name in SEGMENTER_FILES)


@pytest.mark.parametrize("damage", ["weights", "config", "format"])
def test_a_damaged_folder_is_refused(toy_segmenter, tmp_path, damage):
    for name in SEGMENTER_FILES:
        (tmp_path / name).write_bytes((toy_segmenter.out / name).read_bytes())
    config = tmp_path / "segmenter.json"
    if damage == "weights":
        (tmp_path / "segmenter.safetensors").write_bytes(b"not a tensor")
    elif damage == "config":
        config.write_text("{}")
    else:
        write_json(config, {**read_json(config), "format": 99})
    with pytest.raises(DataError, match=str(tmp_path)):
        Segmenter.load(tmp_path)
