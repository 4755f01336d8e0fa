"""The stages of GPT-J methods: language models pretrained, made, read, scored and tuned; classifiers; predictions."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lowres.artifacts import Corpus, Document, Manifest, PackedTokens, Run, Subset, Task
from lowres.errors import DataError
from lowres.families.contract import EvaluateSpec, PredictSpec, ReadSpec
from lowres.families.gptj.checkpoints.convert import raise_faults
from lowres.families.gptj.checkpoints.opening import open_checkpoint
from lowres.families.gptj.class_mesh import place_of
from lowres.families.gptj.classify import GptjClassifier, Labelled, encode, train_head, without_heads
from lowres.families.gptj.config import Config, shapes
from lowres.families.gptj.data import Rows, Stream, pack, rows_in_order, scored_windows
from lowres.families.gptj.finetune import fine_tune
from lowres.families.gptj.huggingface import load_lm, save_lm, write_lm
from lowres.families.gptj.loading import load
from lowres.families.gptj.lora import embeddings_apart, merged, parted, scale_of
from lowres.families.gptj.mesh import join_hosts, on_processor
from lowres.families.gptj.mesh_train import fit, nats_of, score
from lowres.families.gptj.model import Params, count, init
from lowres.families.gptj.peft import save_adapter
from lowres.families.gptj.settings import AdaptSpec, ClassifierSpec, InitSpec, PretrainSpec, TuneSpec
from lowres.families.gptj.spec import weights_name
from lowres.families.gptj.tfrecords import Records, record_files
from lowres.fingerprint import file_sha256
from lowres.metrics.bits import HeldOutLoss, held_out_texts, text_sizes
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.classifier import TextPolicy, write_predictions

VALID_TOKENS = 100_000
"""Of the validation split, scored once at the end of pretraining."""
EVALUATION_ROWS = 16


def pretrain_lm(inputs: Mapping[str, Path], spec: PretrainSpec, run: Run) -> None:
    """Trains a GPT-J from scratch on `packed`, with the `tokenizer` it was packed with."""
    join_hosts(run.devices.hosts)
    tokenizer, stream = load_tokenizer(inputs["tokenizer"]), PackedTokens(inputs["packed"])
    config = Config.of(spec, tokenizer.vocab_size)
    rows = _rows_of(stream.tokens("train"), spec.n_ctx, spec)
    with on_processor():
        start = init(config, spec.seed)
    params, train_loss = fit(start, rows, config, tokenizer.bos_id, spec, run)
    save_lm(run.out, params, config, tokenizer)
    valid = rows_in_order(stream.tokens("valid"), spec.n_ctx, VALID_TOKENS // spec.n_ctx)
    valid_loss = score(params, valid, config, tokenizer.bos_id, spec, run) if len(valid) else None
    seen = rows.steps(spec.epochs) * spec.batch_size * spec.n_ctx
    packing = Manifest.read(inputs["packed"]).facts
    bytes_a_token = packing["bytes"]["train"] / packing["tokens"]["train"]
    describe(run, config, params, "from scratch")
    run.note(tokens_seen=seen, bytes_seen=round(seen * bytes_a_token), train_loss=train_loss, valid_loss=valid_loss)


def _rows_of(stream: Any, n_ctx: int, spec: PretrainSpec | AdaptSpec) -> Rows:
    """The rows of a corpus's train split, packed. Raises DataError where it holds none."""
    if len(stream) < 2:
        raise DataError("the corpus's train split packs to fewer than 2 tokens; there is nothing to learn from")
    return Rows(Stream(stream, n_ctx), spec.batch_size, spec.seed)


def describe(run: Run, config: Config, params: Mapping[str, Any], origin: str) -> None:
    """Notes what every language model's record says."""
    run.note(
        architecture=config.describe(), parameters=count(dict(params)), origin=origin, vocab_size=config.vocab_size
    )


def init_lm(inputs: Mapping[str, Path], spec: InitSpec, run: Run) -> None:
    """Writes a GPT-J with random weights over `tokenizer`."""
    join_hosts(run.devices.hosts)
    tokenizer = load_tokenizer(inputs["tokenizer"])
    config = Config.of(spec, tokenizer.vocab_size)
    params = init(config, spec.seed)
    save_lm(run.out, params, config, tokenizer)
    describe(run, config, params, "random initialisation")
    run.note(tokens_seen=0, bytes_seen=0)


def read_lm(inputs: Mapping[str, Path], spec: ReadSpec, run: Run) -> None:
    """Takes over the GPT-J in spec.path, with its own tokenizer/ or the `tokenizer` of the inputs."""
    folder = Path(spec.path)
    for name, sha in sorted(spec.files.items()):
        if not (folder / name).is_file() or file_sha256(folder / name) != sha:
            raise DataError(f"{folder / name}: missing or changed since the run was planned; run the command again")
    found = open_checkpoint(str(folder))
    raise_faults(found.faults)
    config = found.config
    tokenizer = load_tokenizer(inputs["tokenizer"] if "tokenizer" in inputs else folder / "tokenizer")
    if tokenizer.vocab_size > config.vocab_size:
        raise DataError(
            f"{folder}: {config.vocab_size} embeddings and a tokenizer of {tokenizer.vocab_size} ids; use the"
            " tokenizer that the model was trained with"
        )
    write_lm(run.out, found.tensors.tensor, config, tokenizer)
    run.note(
        architecture=config.describe(),
        parameters=sum(math.prod(shape) for shape in shapes(config).values()),
        origin=f"pretrained weights {weights_name(spec.files)}",
        vocab_size=config.vocab_size,
    )


def evaluate_lm(inputs: Mapping[str, Path], spec: EvaluateSpec, run: Run) -> None:
    """Scores `lm` on held-out texts of `corpus`: every document from an empty context, every token once."""
    join_hosts(run.devices.hosts)
    with on_processor():
        params, config, tokenizer = device_lm(inputs["lm"])
    texts = held_out_texts(Corpus(inputs["corpus"]), spec.held_out_bytes)
    encoded = tokenizer.encode(texts)
    windows = [scored_windows(ids, tokenizer.bos_id, config.n_ctx) for ids in encoded]
    stacked = np.concatenate([*windows, np.zeros((0, 2, config.n_ctx + 1), np.int32)])
    if not len(stacked):
        raise DataError("the corpus has no held-out text to score the language model on; lower splits or filters")
    nats = nats_of(params, stacked[:, 0], config, tokenizer.bos_id, EVALUATION_ROWS, run)
    total = float((nats.astype(np.float64) * stacked[:, 1, 1:]).sum())
    text_bytes, words = text_sizes(texts)
    loss = HeldOutLoss(
        nats=total,
        tokens=sum(len(ids) for ids in encoded),
        unknown_tokens=sum(ids.count(tokenizer.unk_id) for ids in encoded if tokenizer.unk_id is not None),
        unknown_bytes=sum(tokenizer.unknown_bytes(text) for text in texts),
        text_bytes=text_bytes,
        words=words,
    )
    run.note(**loss.facts())


def device_lm(folder: Path) -> tuple[Params, Config, Any]:
    """A language model with its weights where JAX computes."""
    params, config, tokenizer = load_lm(folder)
    return {name: jnp.asarray(array) for name, array in params.items()}, config, tokenizer


def adapt_lm(inputs: Mapping[str, Path], spec: AdaptSpec, run: Run) -> None:
    """Goes on training `lm` on `packed`, on the train texts of `corpus`, or on the rows of spec.path."""
    join_hosts(run.devices.hosts)
    with on_processor():  # a model may be larger than one device
        params, config, tokenizer = device_lm(inputs["lm"])
    bytes_a_token = 0.0
    if spec.path is not None:
        files = _unchanged(spec)
        rows = Rows(Records(files, config.n_ctx, tokenizer.vocab_size), spec.batch_size, spec.seed)
    elif "packed" in inputs:
        packing = Manifest.read(inputs["packed"]).facts
        bytes_a_token = packing["bytes"]["train"] / packing["tokens"]["train"]
        rows = _rows_of(PackedTokens(inputs["packed"]).tokens("train"), config.n_ctx, spec)
    else:
        texts = list(Corpus(inputs["corpus"]).texts("train"))
        stream = pack(tokenizer.encode(texts), tokenizer.bos_id)
        rows = _rows_of(stream, config.n_ctx, spec)
        bytes_a_token = text_sizes(texts)[0] / len(stream)
    describe(
        run, config, params, "trained weights, trained further on " + ("rows of others" if spec.path else "the corpus")
    )
    _go_on(params, config, tokenizer, rows, spec, run)
    run.note(bytes_seen=round(run.facts["tokens_seen"] * bytes_a_token))


def _unchanged(spec: AdaptSpec) -> tuple[Path, ...]:
    """The files of spec.path. Raises DataError where one is not what it was."""
    files = record_files(Path(str(spec.path)))
    if {path.name: file_sha256(path) for path in files} != spec.files:
        raise DataError(f"{spec.path}: changed since the run was planned; run the command again")
    return files


def tune_lm(inputs: Mapping[str, Path], spec: TuneSpec, run: Run) -> None:
    """Goes on training `lm` on the train texts of `task`, or of `subset` where it is given; labels are not read."""
    join_hosts(run.devices.hosts)
    with on_processor():
        params, config, tokenizer = device_lm(inputs["lm"])
    task = Task(inputs["task"])
    documents = Subset(inputs["subset"]).documents(task, "train") if "subset" in inputs else task.split("train")
    texts = [document.text for document in documents]
    stream = pack(tokenizer.encode(texts), tokenizer.bos_id)
    _go_on(params, config, tokenizer, Rows(Stream(stream, config.n_ctx), spec.batch_size, spec.seed), spec, run)
    run.note(bytes_seen=round(run.facts["tokens_seen"] * text_sizes(texts)[0] / len(stream)))


def _go_on(
    params: Params, config: Config, tokenizer: Tokenizer, rows: Rows, spec: AdaptSpec | TuneSpec, run: Run
) -> None:
    """Trains a language model, or an adapter that is added to it, and writes what comes out."""
    alone = isinstance(spec, AdaptSpec) and spec.embeddings_only
    with on_processor():
        frozen, trained = embeddings_apart(params) if alone else parted(params, config, spec.lora, spec.seed)
    trained, train_loss = fit(trained, rows, config, tokenizer.bos_id, spec, run, frozen)
    with on_processor():
        save_lm(run.out, merged(frozen, trained, scale_of(spec.lora)), config, tokenizer)
    if spec.lora is not None:
        save_adapter(run.out / "adapter", trained, spec.lora, config)
        run.note(parameters_trained=count(trained))
    run.note(tokens_seen=rows.steps(spec.epochs) * spec.batch_size * config.n_ctx, train_loss=train_loss)


def train_classifier(inputs: Mapping[str, Path], spec: ClassifierSpec, run: Run) -> None:
    """Trains a classifier on the labelled texts of `subset`; its dev texts choose C (head) or the step kept."""
    join_hosts(run.devices.hosts)
    with on_processor():
        params, config, tokenizer = device_lm(inputs["lm"])
    place = place_of(run.devices, config, run.work)
    task, subset = Task(inputs["task"]), Subset(inputs["subset"])
    labels = task.labels
    train, dev = subset.documents(task, "train"), subset.documents(task, "dev")
    encoded = encode([document.text for document in (*train, *dev)], tokenizer, spec.max_tokens)
    of_train = Labelled(encoded.ids[: len(train)], gold_of(train, labels))
    of_dev = Labelled(encoded.ids[len(train) :], gold_of(dev, labels))
    if spec.arm == "head":
        with place.scope():
            there = place.put(without_heads(params))
            head = train_head(there, config, of_train, of_dev, len(labels), run, place.read)
        seen = encoded.tokens
        run.note(c=head.c, parameters_trained=head.weights.size + head.bias.size)
    else:
        done = fine_tune(params, config, of_train, of_dev, len(labels), spec, run, place)
        params, head, seen = done.params, done.head, done.tokens_seen
        run.note(steps=done.steps, kept_step=done.kept_step, dev_macro_f1=done.dev_macro_f1)
        run.note(parameters_trained=count(done.trained))
        if spec.arm == "lora":
            save_adapter(run.out / "adapter", done.trained, spec.lora, config)
    body = without_heads(params)
    classifier = GptjClassifier(labels, body, config, tokenizer, head, spec.max_tokens)
    classifier.save(run.out, TextPolicy.of_task(task))
    sizes = text_sizes([document.text for document in (*train, *dev)])
    run.note(
        parameters=count(body) + head.weights.size + head.bias.size,
        tokens_seen=seen,
        bytes_seen=round(seen * sizes[0] / max(encoded.tokens, 1)),
        share_of_tokens_cut=encoded.cut,
    )


def gold_of(documents: tuple[Document, ...], labels: tuple[str, ...]) -> np.ndarray:
    """Label indices. Raises DataError where a document has no label or one that is not the task's."""
    places = {label: place for place, label in enumerate(labels)}
    for document in documents:
        if document.label not in places:
            raise DataError(
                f"document {document.id}: its label {document.label!r} is not one of the task's: {list(labels)}"
            )
    return np.array([places[str(document.label)] for document in documents], np.int64)


def predict(inputs: Mapping[str, Path], spec: PredictSpec, run: Run) -> None:
    """Predicts the dev and test texts of `task` with `classifier`."""
    join_hosts(run.devices.hosts)
    write_predictions(partial(load, devices=run.devices), inputs["classifier"], Task(inputs["task"]), run)
