import hashlib
import re

SMALL = [f"--set={setting}" for setting in ("steps=4", "eval_steps=2", "batch_size=4", "emb_dim=4", "hidden_dim=4")]


def test_a_segmenter_is_trained_once_and_copied_with_its_card(lowres, treebank, tmp_path):
    code, out, err = lowres("corpus", "train-segmenter", treebank, *SMALL, "--out", "own", "--offline")
    assert code == 0, err
    assert re.search(r"^test F1, white space: sentence 100\.00, token 5\d\.\d\d", out, re.M)
    assert out.splitlines()[-1] == "segmenter: own"
    there = {path.name for path in (tmp_path / "own").iterdir()}
    assert there == {"segmenter.json", "segmenter.safetensors", "manifest.json", "card.toml"}
    assert (tmp_path / "own/card.toml").read_bytes() == treebank.read_bytes()
    assert lowres("corpus", "train-segmenter", treebank, *SMALL, "--out", "own", "--offline") == (0, out, "")


def test_a_faulty_setting_and_a_card_of_another_kind_are_one_line_each(lowres, treebank):
    for arguments, said in (
        ((treebank, "--set", "stepz=3"), "--set: stepz: unknown key; did you mean steps?"),
        ((treebank, "--set", "steps=0"), "--set: steps is 0; input should be greater than or equal to 1"),
        (("vi/mini",), "a treebank card is needed here"),
    ):
        code, _, err = lowres("corpus", "train-segmenter", *arguments)
        assert code == 2
        assert said in err
        assert len(err.splitlines()) == 1


def test_a_file_that_is_no_treebank_is_named(lowres, treebank, tmp_path):
    text = treebank.read_text(encoding="utf-8")
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.conllu").write_bytes((treebank.parent / f"{split}.conllu").read_bytes())
    broken = (tmp_path / "train.conllu").read_bytes().replace(b"\t", b" ")
    (tmp_path / "train.conllu").write_bytes(broken)
    first = re.search(r'sha256 = "([0-9a-f]{64})"', text)
    text = text.replace(first[1], hashlib.sha256(broken).hexdigest())
    (tmp_path / "toy.toml").write_text(text, encoding="utf-8")
    code, _, err = lowres("corpus", "train-segmenter", "toy.toml", *SMALL)
    assert code == 1
    assert "line 3: not a line of CoNLL-U" in err
