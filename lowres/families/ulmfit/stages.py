"""The stages of ULMFiT: pretrain or take a language model, score it, tune it on a task's texts, train a classifier."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.text.learner import LMLearner, TextLearner
from fastai.text.models.core import SequentialRNN

from lowres.artifacts import Corpus, Document, Manifest, PackedTokens, Run, Subset, Task, write_json
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.families.contract import EvaluateSpec, PredictSpec, ReadSpec
from lowres.families.ulmfit.classify import behind_bos, build_classifier, encode_texts, load, save_direction, save_frame
from lowres.families.ulmfit.config import LmConfig, Shape, read_config
from lowres.families.ulmfit.data import ClassifierBatches, Documents, LmBatches
from lowres.families.ulmfit.evaluate import held_out_loss
from lowres.families.ulmfit.learning import (
    Phase,
    classifier_learner,
    enough_epochs,
    fit_phases,
    layer_rates,
    lm_learner,
)
from lowres.families.ulmfit.models import MixedSequential
from lowres.families.ulmfit.outputs import output
from lowres.families.ulmfit.paths import check_device, choose, set_products
from lowres.families.ulmfit.resume import Journal, paths_for
from lowres.families.ulmfit.saved import (
    build_lm,
    parameter_count,
    put_weights,
    read_lm,
    write_lm,
)
from lowres.families.ulmfit.spec import (
    ClassifierSpec,
    InitSpec,
    PretrainSpec,
    TuneSpec,
)
from lowres.families.ulmfit.tensors import below, read_tensors
from lowres.fingerprint import file_sha256
from lowres.labels import labelling
from lowres.metrics.bits import held_out_texts
from lowres.tokenizers.base import Tokenizer, load_tokenizer, sampler_of
from lowres.training.calibration import fit_temperature
from lowres.training.checkpoint import Checkpoints
from lowres.training.classifier import TextPolicy, write_predictions

_VALID_SHARE = 0.1  # of a task's texts, to watch the tuning by


def pretrain_lm(inputs: Mapping[str, Path], spec: PretrainSpec, run: Run) -> None:
    """Trains a language model on the train split of `packed`; the valid split is watched and may end it.

    Notes architecture, parameters, origin, tokens_seen, bytes_seen, valid_loss and the losses of every epoch.
    """
    _start(run, spec.seed)
    tokenizer = load_tokenizer(inputs["tokenizer"])
    config = LmConfig.of(spec, tokenizer, spec.direction)
    model = build_lm(config, spec.drop_mult)
    packed = PackedTokens(inputs["packed"])
    train, valid = packed_documents(packed, "train"), packed_documents(packed, "valid")
    journal = _train_lm(model, LmTexts(train, valid), spec, config, run)
    write_lm(run.out, model, config, tokenizer)
    facts = Manifest.read(packed.path).facts if (packed.path / "manifest.json").is_file() else {}
    size = facts.get("bytes", {}).get("train", 0)
    _note_lm(run, model, config, "from scratch", bytes_seen=size * journal.place.passes, **_seen(journal))


def init_lm(inputs: Mapping[str, Path], spec: InitSpec, run: Run) -> None:
    """A language model with random weights over the pieces of `tokenizer`."""
    _start(run, spec.seed)
    tokenizer = load_tokenizer(inputs["tokenizer"])
    config = LmConfig.of(spec, tokenizer, spec.direction)
    model = build_lm(config)
    write_lm(run.out, model, config, tokenizer)
    _note_lm(run, model, config, "random initialisation", tokens_seen=0, bytes_seen=0)


def read_lm_folder(inputs: Mapping[str, Path], spec: ReadSpec, run: Run) -> None:
    """Copies a language model that exists. Raises DataError where its files are not those that were named."""
    source = Path(spec.path)
    for name, sha256 in spec.files.items():
        target = run.out / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target)
        if file_sha256(target) != sha256:
            raise DataError(f"{source / name}: its bytes changed since the run was planned; start the run again")
    model, config, _ = read_lm(run.out)
    origin = f"pretrained weights {spec.files['model.safetensors']}"
    _note_lm(run, model, config, origin, tokens_seen=0, bytes_seen=0)


def evaluate_lm(inputs: Mapping[str, Path], spec: EvaluateSpec, run: Run) -> None:
    """Bits per byte of `lm` on the held-out documents of `corpus`; writes nothing but the facts."""
    _start(run, 0)
    model, config, tokenizer = read_lm(inputs["lm"], device=run.device)
    texts = held_out_texts(Corpus(inputs["corpus"]), spec.held_out_bytes)
    backward = config.direction == "backward"
    paths = choose(config, run.device)
    paths.use(model)
    loss = held_out_loss(model, tokenizer, texts, run, backward=backward, device=run.device)
    run.note(**loss.facts(), paths=paths.facts())


def tune_lm(inputs: Mapping[str, Path], spec: TuneSpec, run: Run) -> None:
    """Fine-tunes `lm` on the unlabelled training texts of `task`, or of `subset` alone where that is an input.

    One text in ten is held back to watch the loss. Dev and test texts are never read.
    """
    _start(run, spec.seed)
    task = Task(inputs["task"])
    documents = Subset(inputs["subset"]).documents(task, "train") if "subset" in inputs else task.split("train")
    texts = [document.text for document in documents if document.text]
    model, config, tokenizer = read_lm(inputs["lm"], spec.drop_mult)
    parts = held_back(texts, spec.seed)
    journal = _train_lm(model, lm_texts(*parts, tokenizer, spec), spec, config, run)
    write_lm(run.out, model, config, tokenizer)
    size = sum(len(text.encode("utf-8")) for text in parts[0])
    passes = journal.place.passes
    _note_lm(run, model, config, "tuned on the task's texts", bytes_seen=size * passes, **_seen(journal))


def train_classifier(inputs: Mapping[str, Path], spec: ClassifierSpec, run: Run) -> None:
    """Trains a classifier on the texts of `subset` from `lm_forward`, `lm_backward` or both.

    Writes `<direction>/`, `classifier.json`, `tokenizer/` and `text_policy.json`, all that prediction needs. Dev
    texts are watched; test texts are never read. Notes parameters, labels_used, tokens_seen, bytes_seen and losses.
    """
    task, subset = Task(inputs["task"]), Subset(inputs["subset"])
    train, dev = subset.documents(task, "train"), subset.documents(task, "dev")
    if not train:
        raise DataError("the subset has no labelled training texts; raise train_sizes")
    shape = shape_of(spec, task.labels, task.kind)
    ways = [way for way in ("forward", "backward") if f"lm_{way}" in inputs]
    facts: dict[str, Any] = {"tokens_seen": 0, "bytes_seen": 0, "parameters": 0, "labels_used": len(train)}
    size = sum(len(document.text.encode("utf-8")) for document in train)
    for way in ways:
        _start(run, spec.seed)
        model, config, journal = _train_direction(inputs[f"lm_{way}"], shape, (train, dev), spec, run)
        save_direction(run.out, config, model)
        facts["bytes_seen"] += size * journal.place.passes
        facts["tokens_seen"] += journal.place.tokens
        facts["parameters"] += parameter_count(model)
        facts[f"history_{way}"] = journal.place.history
        facts["paths"] = journal.paths.facts()
    save_frame(run.out, shape, load_tokenizer(inputs[f"lm_{ways[0]}"] / "tokenizer"))
    TextPolicy.of_task(task).write(run.out)
    if spec.calibration == "temperature":
        facts["temperature"] = calibrate(run.out, shape, dev)
    run.note(**facts)


def shape_of(spec: ClassifierSpec, labels: tuple[str, ...], kind: TaskKind) -> Shape:
    """The shape of a classifier that is to be trained."""
    return Shape(labels=labels, bptt=spec.bptt, max_len=spec.max_len, drop_mult=spec.drop_mult, kind=kind)


def calibrate(folder: Path, shape: Shape, dev: Sequence[Document]) -> float:
    """Fits the temperature of the classifier in `folder` on dev and writes it there; 1 without dev texts."""
    probabilities = load(folder).predict_proba([document.text for document in dev])
    kind = labelling(shape.kind)
    gold = kind.targets((str(document.label) for document in dev), shape.labels)
    temperature = fit_temperature(probabilities, gold, kind)
    write_json(
        folder / "classifier.json", shape.model_copy(update={"temperature": temperature}).model_dump(mode="json")
    )
    return temperature


def predict(inputs: Mapping[str, Path], spec: PredictSpec, run: Run) -> None:
    """Probabilities of `classifier` for the dev and test texts of `task`."""
    _start(run, 0)
    write_predictions(load, inputs["classifier"], Task(inputs["task"]), run)


# --- what the stages share -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LmTexts:
    """What a language model is trained on and watched by."""

    train: Documents
    valid: Documents
    redraw: Callable[[int], Documents] | None = None
    """The training documents of an epoch, where they are cut anew in each."""


def _start(run: Run, seed: int) -> None:
    """Threads, product path and torch's generators: all that a stage sets in its process."""
    torch.set_num_threads(run.threads)
    set_products("default")
    torch.manual_seed(seed)


def held_back(texts: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """(texts to train on, texts to watch the loss by): one in ten is watched, one at least."""
    order = np.random.default_rng([seed, 1]).permutation(len(texts))
    held = max(1, round(len(texts) * _VALID_SHARE))
    return [texts[int(k)] for k in order[held:]], [texts[int(k)] for k in order[:held]]


def lm_texts(
    train: Sequence[str], valid: Sequence[str], tokenizer: Tokenizer, spec: PretrainSpec | TuneSpec
) -> LmTexts:
    """Texts as ids."""
    ids, watched = (Documents.of(tokenizer.encode(texts), tokenizer.bos_id) for texts in (train, valid))
    alpha = spec.subword_sampling if isinstance(spec, TuneSpec) else 0.0
    drawn = _redrawn(tokenizer, train, alpha, spec.seed)
    return LmTexts(ids, watched, drawn and (lambda epoch: Documents.of(drawn(epoch), tokenizer.bos_id)))


def prepare_lm(
    model: MixedSequential,
    texts: LmTexts,
    spec: PretrainSpec | TuneSpec,
    config: LmConfig,
    device: str,
) -> tuple[LMLearner, Phase]:
    """A Learner of `model`, not fitted, and the fit of the settings."""
    cut = {"bptt": spec.bptt, "backward": config.direction == "backward", "device": device}
    batches = LmBatches(texts.train, spec.batch_size, seed=spec.seed, redraw=texts.redraw, **cut)
    watched = LmBatches(texts.valid, spec.batch_size, seed=None, **cut)
    learn = lm_learner(model.to(device), batches, watched, spec)  # type: ignore[arg-type]
    tuned = isinstance(spec, TuneSpec)
    if isinstance(spec, PretrainSpec):
        check_device(spec, device)
    epochs = enough_epochs(spec.epochs, len(batches), spec.min_steps) if tuned else spec.epochs
    rates = layer_rates(spec.lr, spec.rate_factor if tuned else 1.0, config.n_layers)
    return learn, Phase(0, epochs, (*rates, spec.lr), spec.schedule)


def _train_lm(
    model: MixedSequential,
    texts: LmTexts,
    spec: PretrainSpec | TuneSpec,
    config: LmConfig,
    run: Run,
) -> Journal:
    """Trains `model` in place, from the checkpoint in run.work where there is one."""
    learn, phase = prepare_lm(model, texts, spec, config, run.device)
    checkpoints = Checkpoints(run.work / "lm")
    paths = paths_for(config, run.device, checkpoints)
    paths.use(model, learn.loss_func)  # type: ignore[arg-type]
    tokens = phase.epochs * learn.dls.train.tokens
    journal = Journal(run, checkpoints, tokens, config.architecture, paths, spec.early_stopping)
    fit_phases(learn, [phase], journal)
    journal.log.keep(run.out / "training.jsonl")
    model.eval()
    return journal


def prepare_classifier(
    lm: Path, shape: Shape, texts: tuple[Sequence[Document], Sequence[Document]], spec: ClassifierSpec, device: str
) -> tuple[TextLearner, LmConfig, list[Phase]]:
    """A Learner of one direction's classifier, not fitted, and its cycles. texts: to train on, and of dev."""
    config, tokenizer = read_config(lm), load_tokenizer(lm / "tokenizer")
    model = build_classifier(config, shape)
    weights = read_tensors(lm / "model.safetensors")
    put_weights(model[0].module, below(weights, "0."), str(lm))  # type: ignore[arg-type]
    layout = {"pad_id": config.pad_id, "chunk": spec.bptt, "device": device}
    train, dev = texts
    backward = config.direction == "backward"
    drawn = _redrawn(tokenizer, [document.text for document in train], spec.subword_sampling, spec.seed)
    again = drawn and (lambda epoch: behind_bos(drawn(epoch), tokenizer.bos_id, backward=backward))
    loaders: list[ClassifierBatches] = []
    for documents, seed, redraw in ((train, spec.seed, again), (dev or train, None, None)):
        encoded = encode_texts(tokenizer, [document.text for document in documents], backward=backward)
        targets = labelling(shape.kind).targets((str(document.label) for document in documents), shape.labels)
        loaders.append(ClassifierBatches(encoded, targets, spec.batch_size, seed=seed, redraw=redraw, **layout))
    loss = output(shape.kind).loss(loaders[0].labels, len(shape.labels), spec).to(device)
    learn = classifier_learner(model.to(device), loaders[0], loaders[1], spec, loss)
    return learn, config, classifier_phases(spec, config.n_layers + 2, len(loaders[0]))


def _train_direction(
    lm: Path, shape: Shape, texts: tuple[Sequence[Document], Sequence[Document]], spec: ClassifierSpec, run: Run
) -> tuple[SequentialRNN, LmConfig, Journal]:
    """One direction's classifier, trained. texts: the training documents and the dev documents."""
    learn, config, phases = prepare_classifier(lm, shape, texts, spec, run.device)
    total = sum(phase.epochs for phase in phases) * learn.dls.train.tokens
    checkpoints = Checkpoints(run.work / config.direction)
    paths = paths_for(config, run.device, checkpoints)
    model: Any = learn.model
    paths.use(model)
    journal = Journal(run, checkpoints, total, f"classifier, {config.direction}", paths, spec.early_stopping)
    fit_phases(learn, phases, journal)
    journal.log.keep(run.out / f"training-{config.direction}.jsonl")
    return model.eval(), config, journal


def _redrawn(
    tokenizer: Tokenizer, texts: Sequence[str], alpha: float, seed: int
) -> Callable[[int], list[list[int]]] | None:
    """The ids of training texts in an epoch, without bos, where they are cut anew in each; else None."""
    sampler = sampler_of(tokenizer, alpha)
    return None if sampler is None else lambda epoch: sampler.encode(texts, seed, epoch)


def classifier_phases(spec: ClassifierSpec, groups: int, steps_per_epoch: int) -> list[Phase]:
    """The cycles of a classifier's training. groups: embedding, layers and head."""
    last = enough_epochs(spec.last_epochs, steps_per_epoch, 4 * spec.min_steps)
    rates = layer_rates(spec.lr, spec.rate_factor, groups)
    if spec.unfreezing == "all":
        return [Phase(0, last, rates)]
    epochs = enough_epochs(spec.epochs, steps_per_epoch, spec.min_steps)
    if spec.unfreezing == "chain-thaw":
        thawed = [-1, *range(-groups, -1)]
        return [*(Phase(group, epochs, rates, alone=True) for group in thawed), Phase(0, last, rates)]
    # all groups but the embedding are unfrozen one a cycle; the last cycle brings the embedding too
    frozen = [
        Phase(-k, epochs, layer_rates(spec.lr / 2 ** (k - 1), spec.rate_factor, groups)) for k in range(1, groups - 1)
    ]
    return [*frozen, Phase(0, last, layer_rates(spec.lr / 2 ** (groups - 2), spec.rate_factor, groups))]


def packed_documents(packed: PackedTokens, split: str) -> Documents:
    """The packed tokens of one split."""
    offsets = np.load(packed.path / f"{split}.offsets.npy")
    return Documents(packed.tokens(split), offsets)


def _seen(journal: Journal) -> dict[str, Any]:
    place = journal.place
    losses = {"valid_loss": place.kept["valid_loss"], "history": place.history}
    return {"tokens_seen": place.tokens, **losses, "paths": journal.paths.facts()}


def _note_lm(run: Run, model: MixedSequential, config: LmConfig, origin: str, **facts: Any) -> None:
    run.note(architecture=config.architecture, parameters=parameter_count(model), origin=origin, **facts)
