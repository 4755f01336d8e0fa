import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from syllables import document, write_corpus
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lowres.artifacts import PackedTokens, Run
from lowres.errors import DataError, RecipeError
from lowres.experiment.plan import make_plan
from lowres.recipe import build_recipe
from lowres.tokenizers import stages
from lowres.tokenizers.base import load_tokenizer
from lowres.tokenizers.definition import Definition, Named, Roles, files_at, find_roles, special_names
from lowres.tokenizers.huggingface import HfTokenizer
from lowres.tokenizers.spec import FertilitySpec, HfSpec, PackSpec, TokenizerSettings, hf_tokenizer

SPECIAL = ["<unk>", "<pad>", "<s>"]
TEXTS = [document(n) for n in range(60)]
SAMPLES = ["Hà Nội có mùa thu đẹp.", "ngườn thường thương!", "", "  hai  khoảng ", "dòng một\ndòng hai", "漢字 và ữ"]


def trained(name):
    """A tokenizer of the library, trained on 60 documents of Vietnamese syllables."""
    common = {"vocab_size": 600, "special_tokens": SPECIAL, "show_progress": False}
    if name == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    elif name == "BPE":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.BpeTrainer(**common)
    elif name == "byte-level BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    elif name == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**common)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(**common | {"vocab_size": 5000})
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


NAMES = ["Unigram", "BPE", "byte-level BPE", "WordPiece", "WordLevel"]


@pytest.fixture(scope="module")
def library():
    return {name: trained(name) for name in NAMES}


def content(tokenizer, **changes):
    """The bytes of a tokenizer.json, with some of its parts changed."""
    return json.dumps(json.loads(tokenizer.to_str()) | changes).encode()


def ours(tokenizer, **named):
    definition = Definition(content(tokenizer))
    return HfTokenizer(content(tokenizer), find_roles(definition, {}, Named(**{"bos": "<s>", "pad": "<pad>"} | named)))


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_the_librarys(library, name):
    tokenizer = ours(library[name])
    texts = [*SAMPLES, *TEXTS]
    assert tokenizer.encode(texts) == [library[name].encode(t, add_special_tokens=False).ids for t in texts]
    assert tokenizer.vocab_size == library[name].get_vocab_size() >= 256
    assert (tokenizer.bos_id, tokenizer.pad_id) == (2, 1)
    assert tokenizer.unk_id == (None if name == "byte-level BPE" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_is_the_librarys_without_special_tokens(library, name):
    tokenizer = ours(library[name])
    for text in TEXTS[:5]:
        ids = tokenizer.encode([text])[0]
        assert 0 not in ids
        assert tokenizer.decode([2, *ids, 1, 1]) == library[name].decode(ids)
    if name != "byte-level BPE":
        assert "\ufffd" in tokenizer.decode(tokenizer.encode(["漢"])[0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_bytes_of_any_text_come_back(library, text):
    tokenizer = ours(library["byte-level BPE"])
    ids = tokenizer.encode([text])[0]
    assert tokenizer.decode(ids) == text and tokenizer.unknown_bytes(text) == 0
    assert not {0, 1, 2} & set(ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_in_a_text_is_text(library, name):
    """The library itself gives it the special id; most of its models do so even where it is told not to look for it."""
    text = "ba <s> cha <pad> đi<s>"
    tokenizer = ours(library[name])
    assert {1, 2} <= set(library[name].encode(text, add_special_tokens=False).ids)
    ids = tokenizer.encode([text])[0]
    assert not {1, 2} & set(ids)
    if name == "byte-level BPE":
        assert tokenizer.decode(ids) == text


def test_tokens_that_are_not_called_special_are_guarded_where_they_serve(library):
    bare = json.loads(content(library["WordLevel"])) | {"added_tokens": []}
    tokenizer = HfTokenizer(json.dumps(bare).encode(), Roles("<s>", "<pad>", "<unk>"))
    assert tokenizer.encode(["<s> <pad> <unk>"]) == [[0, 0, 0]]


def test_merges_that_make_a_special_token_are_not_taken(library):
    whole = json.loads(content(library["byte-level BPE"]))
    vocab = whole["model"]["vocab"]
    vocab |= {"EO": len(vocab), "EOT": len(vocab) + 1}
    whole["model"]["merges"] += [["E", "O"], ["EO", "T"]]
    whole["added_tokens"].append(whole["added_tokens"][0] | {"content": "EOT", "id": vocab["EOT"]})
    tokenizer = HfTokenizer(json.dumps(whole).encode(), Roles("<s>", "<pad>", None))
    assert tokenizer.encode(["EOT"]) == [[vocab["EO"], vocab["T"]]]


def test_added_words_keep_their_ids_and_are_found(library):
    tokenizer = Tokenizer.from_str(library["byte-level BPE"].to_str())
    tokenizer.add_special_tokens(["<sep>"])
    tokenizer.add_tokens(["Hà Nội"])
    tokenizer.add_special_tokens(["<mask>"])
    found = ours(tokenizer)
    assert found.encode(["ở Hà Nội"])[0][-1] == tokenizer.token_to_id("Hà Nội")
    assert found.vocab_size == tokenizer.get_vocab_size() == tokenizer.token_to_id("<mask>") + 1
    assert found.decode([tokenizer.token_to_id("<mask>"), tokenizer.token_to_id("Hà Nội")]) == "Hà Nội"


def test_limits_and_frames_of_the_file_do_not_hold(library):
    limited = Tokenizer.from_str(library["WordPiece"].to_str())
    limited.enable_truncation(4)
    limited.enable_padding(length=9, pad_id=1, pad_token="<pad>")
    limited.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    definition = Definition(content(limited))
    roles = find_roles(definition, {}, Named())
    assert roles == Roles("<s>", "<pad>", "<unk>")
    assert HfTokenizer(content(limited), roles).encode(TEXTS) == ours(library["WordPiece"]).encode(TEXTS)


def test_a_file_that_asks_for_chance_cuts_a_text_in_one_way(library):
    whole = json.loads(content(library["BPE"]))
    whole["model"]["dropout"] = 0.5
    random = Tokenizer.from_str(json.dumps(whole))
    assert len({tuple(random.encode(TEXTS[0]).ids) for _ in range(5)}) > 1
    tokenizer = HfTokenizer(json.dumps(whole).encode(), Roles("<s>", "<pad>", "<unk>"))
    assert tokenizer.encode(TEXTS) == ours(library["BPE"]).encode(TEXTS)


@pytest.mark.parametrize(
    ("name", "text", "hidden"),
    [
        ("Unigram", "a 漢字 b", "漢字"),
        ("BPE", "a漢b", "漢"),
        ("WordPiece", "anh 漢字", "漢字"),
        ("WordLevel", "Huyên!", "Huyên!"),
    ],
)
def test_bytes_that_unknown_tokens_hide(library, name, text, hidden):
    assert ours(library[name]).unknown_bytes(text) in (len(hidden.encode()), len(f" {hidden}".encode()))
    assert ours(library[name]).unknown_bytes(TEXTS[0]) == 0


# --- which token serves as what --------------------------------------------------------------------------------------


def folder_of(tokenizer, folder, **configs):
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(content(tokenizer))
    for name, value in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def roles_at(path, **named):
    file, beside = files_at(path)
    return find_roles(Definition(file.read_bytes(), str(file)), special_names(beside, Named(**named)), Named(**named))


def test_roles_come_from_the_files_beside_it_or_from_the_user(library, tmp_path):
    bert = {"cls_token": "<s>", "pad_token": {"content": "<pad>", "lstrip": False}, "auto_map": {"X": "never_run.py"}}
    folder = folder_of(library["WordPiece"], tmp_path / "bert", tokenizer_config=bert)
    assert roles_at(folder) == Roles("<s>", "<pad>", "<unk>")
    both = folder_of(
        library["Unigram"], tmp_path / "both", special_tokens_map={"bos_token": "<s>", "pad_token": "<pad>"}
    )
    assert roles_at(both) == Roles("<s>", "<pad>", "<unk>")
    assert roles_at(both / "tokenizer.json", bos="<s>", new_pad=True) == Roles("<s>", None, "<unk>")


def test_an_id_of_its_own_fills_batches_where_that_is_asked(library):
    tokenizer = HfTokenizer(content(library["byte-level BPE"]), Roles("<s>", None, None))
    assert tokenizer.pad_id == library["byte-level BPE"].get_vocab_size() == tokenizer.vocab_size - 1
    assert tokenizer.decode([tokenizer.pad_id]) == ""


def test_what_nobody_says_is_asked_for_in_one_line(library, tmp_path):
    folder = folder_of(library["byte-level BPE"], tmp_path / "bare")
    with pytest.raises(DataError) as raised:
        roles_at(folder)
    said = str(raised.value)
    assert said.startswith(str(folder / "tokenizer.json")) and "\n" not in said
    assert 'tokenizer.bos = "..."' in said and "tokenizer.new_pad = true" in said and "<unk>, <pad>, <s>" in said
    assert "tokenizer.unk" not in said


def test_a_model_that_drops_characters_needs_an_unk(library):
    silent = json.loads(content(library["BPE"]))
    silent["model"]["unk_token"] = None
    definition = Definition(json.dumps(silent).encode())
    with pytest.raises(DataError, match=r"tokenizer\.unk = "):
        find_roles(definition, {}, Named("<s>", "<pad>"))
    roles = find_roles(definition, {}, Named("<s>", "<pad>", "<unk>"))
    assert HfTokenizer(json.dumps(silent).encode(), roles).encode(["漢"])[0][-1] == 0


@pytest.mark.parametrize(
    ("name", "named", "said"),
    [
        ("Unigram", {"bos": "<S>"}, "bos is '<S>', which it does not have"),
        ("Unigram", {"pad": "<s>"}, "must be three tokens"),
        ("Unigram", {"unk": "<pad>"}, "its model writes '<unk>'; leave unk out"),
        ("byte-level BPE", {"unk": "<unk>"}, "nothing is unknown to it; leave unk out"),
    ],
)
def test_a_token_that_cannot_serve_is_refused(library, name, named, said):
    with pytest.raises(DataError, match="^tokenizer.json: ") as raised:
        ours(library[name], **named)
    assert said in str(raised.value)


def test_files_that_disagree_are_refused_until_the_user_says_which(library, tmp_path):
    said = {"bos_token": "<s>", "pad_token": "<pad>"}
    folder = folder_of(
        library["BPE"], tmp_path / "two", tokenizer_config=said, special_tokens_map=said | {"bos_token": "<pad>"}
    )
    with pytest.raises(DataError, match=r"special_tokens_map\.json: bos_token is '<pad>', elsewhere .* '<s>'; say"):
        roles_at(folder)
    assert roles_at(folder, bos="<s>") == Roles("<s>", "<pad>", "<unk>")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model": {"type": "BPE"}}',
        b'{"model": {"type": "Neural", "vocab": {}}}',
        b"\x80\x04pickle",
    ],
)
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        roles_at(tmp_path)


def test_a_folder_without_the_file_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(DataError, match=r"no tokenizer\.json there; of Hugging Face's"):
        files_at(tmp_path)


def test_a_damaged_definition_is_one_line(library):
    whole = json.loads(content(library["BPE"]))
    whole["model"]["merges"].append(["no such", "pieces"])
    with pytest.raises(DataError, match="cannot read it"):
        HfTokenizer(json.dumps(whole).encode(), Roles("<s>", "<pad>", "<unk>"))


# --- artifacts and recipes -------------------------------------------------------------------------------------------


def recipe(path, **changes):
    tokenizer = {"kind": "hf", "path": str(path), **changes.pop("tokenizer", {})}
    method = {"family": "ulmfit", **changes.pop("method", {})}
    return {
        "name": "h",
        "language": "vie",
        "corpus": "vi/mini",
        "tokenizer": tokenizer,
        "methods": {"m": method},
        **changes,
    }


@pytest.fixture
def folder(library, tmp_path):
    said = {"bos_token": "<s>", "pad_token": "<pad>"}
    return folder_of(library["Unigram"], tmp_path / "hf", tokenizer_config=said)


def test_the_stage_copies_the_file_and_packing_takes_it(folder, tmp_path):
    node = hf_tokenizer(TokenizerSettings(kind="hf", path=str(folder)))
    out, packed = tmp_path / "out", tmp_path / "packed"
    for made in (out, packed):
        made.mkdir()
    run = Run(out=out, work=out, seed=0)
    stages.read_hf_tokenizer({}, node.spec, run)
    assert run.facts["model"] == "Unigram" and run.facts["sha256"] == node.spec.sha256
    assert (out / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    corpus = write_corpus(tmp_path / "corpus", {"train": TEXTS, "valid": ["Hà 漢."], "test": []})
    stages.pack_tokens({"corpus": corpus, "tokenizer": out}, PackSpec(), Run(out=packed, work=packed, seed=0))
    tokenizer = load_tokenizer(out)
    assert PackedTokens(packed).tokens("train")[: 1 + len(tokenizer.encode(TEXTS[:1])[0])].tolist() == [
        tokenizer.bos_id,
        *tokenizer.encode(TEXTS[:1])[0],
    ]
    measured = Run(out=out, work=out, seed=0)
    spec = FertilitySpec(segmented=False)
    stages.measure_fertility({"corpus": corpus, "tokenizer": out}, spec, measured)
    assert measured.facts["unknown_rate"] > 0 and "segmented_fertility" not in measured.facts


def test_a_file_that_changed_is_refused(folder, tmp_path):
    spec = HfSpec(path=str(folder / "tokenizer.json"), sha256="0" * 64, bos="<s>", pad="<pad>", unk="<unk>")
    with pytest.raises(DataError, match="its bytes changed since the run was planned"):
        stages.read_hf_tokenizer({}, spec, Run(out=tmp_path, work=tmp_path, seed=0))
    HfTokenizer((folder / "tokenizer.json").read_bytes(), Roles("<s>", "<pad>", "<unk>")).save(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"its bytes are not those of lowres_tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_the_file_and_its_roles_name_the_artifact_and_its_place_does_not(library, folder, tmp_path):
    first = make_plan(build_recipe(recipe(folder)))
    moved = make_plan(build_recipe(recipe(folder.rename(tmp_path / "elsewhere"))))
    assert first.tokenizer.id == moved.tokenizer.id
    other = folder_of(library["BPE"], tmp_path / "other", tokenizer_config={"bos_token": "<s>", "pad_token": "<pad>"})
    ids = {make_plan(build_recipe(recipe(other))).tokenizer.id, first.tokenizer.id}
    new_pad = recipe(tmp_path / "elsewhere", tokenizer={"new_pad": True})
    ids.add(make_plan(build_recipe(new_pad)).tokenizer.id)
    assert len(ids) == 3


def test_a_recipe_measures_it_on_the_corpus_and_needs_none_for_random_weights(folder, tmp_path):
    plan = make_plan(build_recipe(recipe(folder)))
    (measured,) = plan.fertility
    assert measured.inputs["tokenizer"].id == plan.tokenizer.id and measured.stage.worker == "data"
    without = recipe(folder, method={"init": "random"}, tasks=["vi/mini_topics"])
    del without["corpus"]
    weights = make_plan(build_recipe(without)).language_models["m"].weights
    assert weights.inputs["tokenizer"].id == plan.tokenizer.id


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        ({"vocab_size": 8000}, 'vocab_size has no effect where tokenizer.kind is "hf"'),
        ({"kind": "sentencepiece"}, 'path has no effect where tokenizer.kind is "sentencepiece"'),
        ({"pad": "<pad>", "new_pad": True}, "leave one of them out"),
        ({"path": "no/such/folder"}, "tokenizer: no/such/folder: no tokenizer.json there"),
        ({"bos": "<S>"}, "bos is '<S>', which it does not have"),
    ],
)
def test_faults_of_a_recipe(folder, tokenizer, said):
    with pytest.raises(RecipeError) as raised:
        build_recipe(recipe(folder, tokenizer=tokenizer))
    assert any(said in fault for fault in raised.value.faults)
