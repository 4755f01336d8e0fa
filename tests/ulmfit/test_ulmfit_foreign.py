"""Language models of fastai, MultiFiT and fastai_ulmfit: the numbers they had, or one clear line."""

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path

import pytest
import sentencepiece
import torch
from fastai.text.core import SentencePieceTokenizer, TokenizeWithRules
from fastai.text.data import make_vocab
from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_lm_config
from fastai.text.models.core import get_language_model
from fastcore.foundation import L

from lowres.artifacts import Node, Run
from lowres.errors import DataError, RecipeError
from lowres.families.contract import Shared
from lowres.families.ulmfit.foreign.convert import import_models, read_foreign
from lowres.families.ulmfit.foreign.pickles import read_strings
from lowres.families.ulmfit.saved import read_lm
from lowres.families.ulmfit.spec import FAMILY, UlmfitMethod
from lowres.families.ulmfit.stages import read_lm_folder
from lowres.packages import open_package
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.fastai import FastaiRules, FastaiTokenizer

SPECIALS_2 = "xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj".split()
SPECIALS_1 = "xxunk xxpad xxbos xxfld xxmaj xxup xxrep xxwrep".split()  # of MultiFiT's paper models; then <unk> = 8
SIZES = {"emb_sz": 12, "n_hid": 20, "n_layers": 3}
TEXTS = [
    "Hà Nội là thủ đô của Việt Nam.",
    "ABC đi học!!!! Rất rất rất rất vui... &amp; ĐẸP / quá #39;",
    "",
    "  two\nlines \\n of Text<br />ABBA iPhone NASA A I  ",
    "ไทย 漢字",
    "word word word word word end",
]


def _train_pieces(texts: list[str], folder: Path, specials: list[str], size: int) -> Path:
    """A SentencePiece model with the flags that both fastais pass."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.txt").write_text("\n".join(FastaiRules(2).apply(text) for text in texts), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts.txt"), model_prefix=str(folder / "spm"), vocab_size=size, model_type="unigram",
        character_coverage=0.99999, unk_id=len(specials), pad_id=-1, bos_id=-1, eos_id=-1, minloglevel=2,
        user_defined_symbols=["\u2581" + name for name in specials], hard_vocab_limit=False, num_threads=1,
    )  # fmt: skip
    (folder / "texts.txt").unlink()
    return folder / "spm.model"


@pytest.fixture(scope="module")
def lines(corpus) -> list[str]:
    import pyarrow.parquet as pq

    texts = pq.read_table(corpus / "train.parquet").column("text").to_pylist()
    return [*texts, "Mua ABC của bạn , rất rất rất rất rẻ và aaaa"]


@pytest.fixture(scope="module")
def fastai_folder(tmp_path_factory, lines) -> tuple[Path, torch.nn.Module, list[str]]:
    """What fastai 2 leaves: a trained-like AWD-LSTM, its vocabulary by fastai's own count, SentencePiece's model."""
    folder = tmp_path_factory.mktemp("fastai")
    pieces = _train_pieces(lines, folder / "spm", SPECIALS_2, 420)
    tok = TokenizeWithRules(SentencePieceTokenizer(sp_model=pieces, cache_dir=folder / "spm"))
    vocabulary = list(make_vocab(Counter(piece for text in tok(lines) for piece in text), min_freq=1))
    torch.manual_seed(0)
    model = get_language_model(AWD_LSTM, len(vocabulary), {**awd_lstm_lm_config, **SIZES})
    _shake(model)
    torch.save(model.state_dict(), folder / "vi_lm.pth")
    (folder / "vi_vocab.pkl").write_bytes(pickle.dumps(vocabulary))
    return folder, model.eval(), vocabulary


def _shake(model: torch.nn.Module) -> None:
    """Biases and weights of a size that shows in the scores."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)


def _scores(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model, _, _ = read_lm(folder)
    model.reset()
    return model.decoder.scores(model(ids)[0])


def test_fastais_awd_lstm_gives_the_same_scores_and_tokens(fastai_folder, tmp_path):
    folder, theirs, vocabulary = fastai_folder
    assert import_models(folder, tmp_path / "lm") == [
        f"fastai: AWD-LSTM, 3 layers of 20, forward, embedding 12, 0.0 M parameters, {len(vocabulary)} pieces, "
        "rules of fastai 2"
    ]
    ids = torch.randint(0, len(vocabulary), (2, 30))
    theirs.reset()
    assert torch.allclose(_scores(tmp_path / "lm", ids), theirs(ids)[0], rtol=0, atol=2e-5)
    tokenizer = load_tokenizer(tmp_path / "lm/tokenizer")
    tok = TokenizeWithRules(SentencePieceTokenizer(sp_model=folder / "spm/spm.model", cache_dir=tmp_path))
    place = {piece: k for k, piece in reversed(list(enumerate(vocabulary)))}
    wanted = [[place.get(piece, 0) for piece in pieces] for pieces in tok(TEXTS)]
    assert [[tokenizer.bos_id, *row] for row in tokenizer.encode(TEXTS)] == wanted
    assert tokenizer.bos_id == vocabulary.index("\u2581xxbos") and tokenizer.pad_id == 1 and tokenizer.unk_id == 0
    assert open_package(tmp_path / "lm").kind == "language-model"


def test_decoding_undoes_the_marks(fastai_folder):
    folder, _, vocabulary = fastai_folder
    tokenizer = FastaiTokenizer((folder / "spm/spm.model").read_bytes(), vocabulary, FastaiRules(2))
    ids = tokenizer.encode(["Mua ABC của bạn , rất rất rất rất rẻ và aaaa"])[0]
    assert tokenizer.decode([tokenizer.bos_id, *ids]) == "Mua ABC của bạn , rất rất rất rất rẻ và aaaa"
    assert tokenizer.unknown_bytes("漢字 và") == len("漢字".encode()) and tokenizer.unknown_bytes("của") == 0


def test_a_checkpoint_with_its_optimiser_loads_and_an_old_one_too(fastai_folder, tmp_path):
    folder, theirs, _ = fastai_folder
    shutil.copytree(folder, tmp_path / "x")
    state = theirs.state_dict()
    torch.save({"model": state, "opt": {"state": [], "hypers": [{"lr": 0.1}]}}, tmp_path / "x/vi_lm.pth")
    plain, again = read_foreign(folder)[0], read_foreign(tmp_path / "x")[0]
    torch.save(state, tmp_path / "x/vi_lm.pth", _use_new_zipfile_serialization=False)
    old = read_foreign(tmp_path / "x")[0]
    for name, tensor in plain.weights.items():
        assert torch.equal(tensor, again.weights[name]) and torch.equal(tensor, old.weights[name])


# --- MultiFiT --------------------------------------------------------------------------------------------------------


def _multifit_scores(weights: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """fastai 1's QRNN as its formulas say, step by step in float64: c = f * z + (1 - f) * c, out = o * c."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    x = w["0.encoder.weight"][ids]
    for layer in range(4):
        own = f"0.rnns.{layer}.layers.0.linear"
        out, c, before = [], None, torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            source = torch.cat([x[:, t], before], -1) if layer == 0 else x[:, t]
            before = x[:, t]
            z, f, o = (source @ w[f"{own}.weight_raw"].t() + w[f"{own}.module.bias"]).chunk(3, -1)
            z, f, o = z.tanh(), f.sigmoid(), o.sigmoid()
            c = f * z + (1 - f) * (torch.zeros_like(z) if c is None else c)
            out.append(o * c)
        x = torch.stack(out, 1)
    return x @ w["1.decoder.weight"].t() + w["1.decoder.bias"]


@pytest.fixture(scope="module")
def multifit_folder(tmp_path_factory, lines) -> tuple[Path, dict[str, torch.Tensor]]:
    """A release as MultiFiT's `train_` leaves it, 4 layers, odd widths (as 1550 is not a multiple of 8)."""
    folder = tmp_path_factory.mktemp("multifit") / "vi_multifit_paper_version"
    model = _train_pieces(lines, folder, SPECIALS_1, 400)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    itos = [processor.id_to_piece(k) for k in range(processor.vocab_size())]
    (folder / "itos.pkl").write_bytes(pickle.dumps(itos))
    (folder / "pretraining.json").write_text(json.dumps({"bs": 50, "arch": {"lang": "vi", "n_hid": 15, "qrnn": True}}))
    torch.manual_seed(1)
    emb, hid = 10, 15
    widths = [(2 * emb, hid), (hid, hid), (hid, hid), (hid, emb)]
    weights = {"0.encoder.weight": torch.randn(len(itos), emb)}
    weights["0.encoder_dp.emb.weight"] = weights["1.decoder.weight"] = weights["0.encoder.weight"]
    weights["1.decoder.bias"] = torch.randn(len(itos))
    for k, (n_in, n_out) in enumerate(widths):
        own = f"0.rnns.{k}.layers.0.linear"
        weights[f"{own}.weight_raw"] = torch.randn(3 * n_out, n_in) * 0.5
        weights[f"{own}.module.weight"] = torch.nn.functional.dropout(weights[f"{own}.weight_raw"], 0.15)
        weights[f"{own}.module.bias"] = torch.randn(3 * n_out)
    torch.save(weights, folder / "lm_best.pth")
    return folder, weights


def test_multifits_qrnn_gives_the_scores_of_its_own_convention(multifit_folder, tmp_path):
    folder, weights = multifit_folder
    described = import_models(folder, tmp_path / "lm")
    assert described[0].startswith("MultiFiT: QRNN, 4 layers of 15, forward, embedding 10")
    ids = torch.randint(0, len(weights["1.decoder.bias"]), (2, 25))
    wanted = _multifit_scores(weights, ids)
    assert torch.allclose(_scores(tmp_path / "lm", ids).double(), wanted, rtol=0, atol=2e-5)
    early = {name.replace("layers.0.", ""): tensor for name, tensor in weights.items()}
    shutil.copytree(folder, tmp_path / "vi_early")
    torch.save(early, tmp_path / "vi_early/lm_best.pth")
    import_models(tmp_path / "vi_early", tmp_path / "early")
    assert torch.allclose(_scores(tmp_path / "early", ids).double(), wanted, rtol=0, atol=2e-5)


def test_multifits_rules_number_pieces_as_sentencepiece_does(multifit_folder):
    folder, _ = multifit_folder
    foreign = read_foreign(folder)[0]
    assert foreign.tokenizer.rules == FastaiRules(1, fields=True, moses=True, language="vi")
    plain = FastaiTokenizer(foreign.tokenizer.model, foreign.tokenizer.pieces, FastaiRules(1, fields=True))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    assert plain.encode(["Đội ABC thắng!!!!"])[0] == processor.encode("xxfld 1 xxmaj đội xxup abc thắng xxrep 4 !")
    assert (plain.unk_id, plain.bos_id, plain.pad_id) == (8, 2, 1)
    assert FastaiRules(1).apply("hay hay hay hay hay đẹp\\n") == "xxwrep 5 hay đẹp"


def test_the_moses_step_is_made_or_asked_for(multifit_folder):
    try:
        import sacremoses  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match=r"pip install 'lowres\[multifit\]'"):
            read_foreign(multifit_folder[0])[0].tokenizer.encode(["x"])
    else:
        assert FastaiRules(1, moses=True, language="en").apply("A dog's (ABC).") == "a dog 's ( xxup abc ) ."


# --- fastai_ulmfit ---------------------------------------------------------------------------------------------------


@pytest.fixture
def package_folder(tmp_path, fastai_folder) -> tuple[Path, dict[str, torch.nn.Module]]:
    folder, _, vocabulary = fastai_folder
    out, models = tmp_path / "vi-wiki", {}
    shutil.copytree(folder / "spm", out / "spm")
    for seed, way in enumerate(("fwd", "bwd")):
        (out / way).mkdir()
        torch.manual_seed(seed)
        model = get_language_model(AWD_LSTM, len(vocabulary), {**awd_lstm_lm_config, **SIZES})
        _shake(model)
        torch.save(model.state_dict(), out / way / "vi_wiki_model.pth")
        (out / way / "vi_wiki_vocab.pkl").write_bytes(pickle.dumps(L(vocabulary)))
        settings = {"lang": "vi", "tokenizer": {"class": "SentencePieceTokenizer", "params": {"lang": "vi"}}}
        (out / way / "model.json").write_text(json.dumps(settings))
        models[way] = model.eval()
    return out, models


def test_a_package_of_fastai_ulmfit_has_both_directions_and_serves_a_recipe(package_folder, tmp_path):
    folder, models = package_folder
    import_models(folder, tmp_path / "lm")
    ids = torch.randint(0, 400, (2, 20))
    for way, ours in (("fwd", "forward"), ("bwd", "backward")):
        models[way].reset()
        assert torch.allclose(_scores(tmp_path / "lm" / ours, ids), models[way](ids)[0], rtol=0, atol=2e-5)
    method = UlmfitMethod.model_validate(
        {"family": "ulmfit", "init": str(tmp_path / "lm"), "classifier": {"direction": "both"}}
    )
    any_node: Node = FAMILY.language_model(method, SHARED).weights
    run = Run(out=tmp_path / "read", work=tmp_path, seed=0)
    run.out.mkdir()
    read_lm_folder({}, any_node.spec, run)
    assert run.facts["architecture"] == "AWD-LSTM, 3 layers of 20"
    (tmp_path / "lm/backward/model.safetensors").write_bytes(b"other")
    with pytest.raises(DataError, match=r"backward/model.safetensors: its sha256 is not"):
        FAMILY.language_model(method, SHARED)


SHARED = Shared("vie", None, None, 0, "train")


def test_one_direction_alone_is_not_both(fastai_folder, tmp_path):
    import_models(fastai_folder[0], tmp_path / "lm")
    settings = {"family": "ulmfit", "init": str(tmp_path / "lm"), "classifier": {"direction": "both"}}
    with pytest.raises(RecipeError, match="there is no forward/ in it"):
        FAMILY.language_model(UlmfitMethod.model_validate(settings), SHARED)


# --- what is refused -------------------------------------------------------------------------------------------------


class _Evil:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("what", ["vocabulary", "weights"])
def test_nothing_in_a_pickle_is_run(what, fastai_folder, tmp_path):
    shutil.copytree(fastai_folder[0], tmp_path / "x")
    if what == "vocabulary":
        (tmp_path / "x/vi_vocab.pkl").write_bytes(pickle.dumps(["a", _Evil(tmp_path / "ran")]))
    else:
        torch.save({"0.encoder.weight": _Evil(tmp_path / "ran")}, tmp_path / "x/vi_lm.pth")
    with pytest.raises(DataError, match="nothing else" if what == "vocabulary" else "not a file of tensors alone") as e:
        import_models(tmp_path / "x", tmp_path / "out")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_lists_of_strings_are_read_and_no_more(tmp_path):
    for name, value in {"a.pkl": ["x", "y"], "b.pkl": L(["x", "y"]), "c.pkl": [["x", "y"], ["pos", "neg"]]}.items():
        (tmp_path / name).write_bytes(pickle.dumps(value))
        assert read_strings(tmp_path / name) == ["x", "y"]
    (tmp_path / "d.json").write_text('["x", "y"]')
    assert read_strings(tmp_path / "d.json") == ["x", "y"]
    for value in ([], ["x", 1], {"x": 1}, "xy", 3):
        (tmp_path / "e.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(DataError, match="a list of strings"):
            read_strings(tmp_path / "e.pkl")
    (tmp_path / "e.pkl").write_bytes(b"\x80\x04garbage")
    with pytest.raises(DataError, match="not a list of strings"):
        read_strings(tmp_path / "e.pkl")


def _without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


FAULTS = {
    "a tensor is missing": (lambda s: _without(s, "0.rnns.1.module.bias_hh_l0"), "bias_hh_l0 is missing"),
    "a layer is missing": (
        lambda s: {n: t for n, t in s.items() if not n.startswith("0.rnns.1")}, "it is no AWD-LSTM or QRNN"),
    "no softmax": (lambda s: _without(s, "1.decoder.bias"), "1.decoder.bias is missing"),
    "an encoder": (
        lambda s: {n[2:]: t for n, t in s.items() if n.startswith("0.")}, "an encoder without its softmax"),
    "a classifier": (lambda s: {"0.module." + n[2:]: t for n, t in s.items() if n.startswith("0.")}, "a classifier"),
    "untied": (lambda s: s | {"1.decoder.weight": s["1.decoder.weight"] + 1}, "only tied softmax weights"),
    "a shape": (lambda s: s | {"0.rnns.1.module.bias_hh_l0": torch.zeros(7)}, r"has shape \(7,\), the other"),
    "both ways at once": (
        lambda s: s | {"0.rnns.0.weight_hh_l0_reverse_raw": torch.zeros(2)}, "that runs one way"),
    "another vocabulary": (
        lambda s: s | {n: s["0.encoder.weight"][:-1] for n in
                       ("0.encoder.weight", "1.decoder.weight", "0.encoder_dp.emb.weight")}, "for a vocabulary of"),
    "something else": (lambda s: {"transformer.h.0": torch.zeros(2)}, "it is no AWD-LSTM or QRNN of fastai"),
    "a list": (lambda s: [torch.zeros(2)], "holds no tensors by name"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_do_not_fit_are_refused_in_one_line(fault, fastai_folder, tmp_path):
    folder, theirs, _ = fastai_folder
    change, said = FAULTS[fault]
    shutil.copytree(folder, tmp_path / "x")
    torch.save(change(dict(theirs.state_dict())), tmp_path / "x/vi_lm.pth")
    with pytest.raises(DataError, match=said) as refused:
        import_models(tmp_path / "x", tmp_path / "out")
    assert "\n" not in str(refused.value) and "vi_lm.pth" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_no_model_are_refused(fastai_folder, multifit_folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        import_models(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(DataError, match="no known layout"):
        import_models(tmp_path, tmp_path / "out")
    shutil.copytree(fastai_folder[0], tmp_path / "words")
    shutil.rmtree(tmp_path / "words/spm")
    with pytest.raises(DataError, match="no SentencePiece model there"):
        import_models(tmp_path / "words", tmp_path / "out")
    shutil.copytree(fastai_folder[0], tmp_path / "mixed")
    shutil.copyfile(multifit_folder[0] / "itos.pkl", tmp_path / "mixed/vi_vocab.pkl")
    (tmp_path / "mixed/other_vocab.pkl").write_bytes(b"")
    with pytest.raises(DataError, match="several files may be vocabulary"):
        import_models(tmp_path / "mixed", tmp_path / "out")
    shutil.copytree(multifit_folder[0], tmp_path / "release")
    (tmp_path / "release/pretraining.json").unlink()
    with pytest.raises(DataError, match="name no language"):
        import_models(tmp_path / "release", tmp_path / "out")
