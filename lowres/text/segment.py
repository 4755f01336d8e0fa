"""Sentences and words by stanza's tokenizer (Qi et al. 2018, 2020); the one place that imports stanza, and so torch.

A tagger of characters: each ends nothing, a token, a sentence, a contraction, or a contraction and a sentence. Spaces
are characters like others, so a token may hold some, as Vietnamese words do. The network, its features and its training
batches are stanza's; what is saved is ours: weights as safetensors, all else as JSON, so no pickle is ever read.
"""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pycountry
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stanza.models.tokenization.data import DataLoader, TokenizationDataset
from stanza.models.tokenization.trainer import Trainer
from stanza.models.tokenization.utils import create_dictionary, predict
from stanza.models.tokenization.vocab import Vocab
from stanza.models.tokenizer import build_argparse

from lowres.artifacts import Run, read_json, write_json
from lowres.errors import DataError, NotFinite
from lowres.fingerprint import fingerprint
from lowres.text.spec import SEGMENTER_FILES, SegmenterSettings
from lowres.text.treebank import Paragraph, Sentence, Token, contractions
from lowres.text.words import score

logging.getLogger("stanza").setLevel(logging.WARNING)

_CONTINUES, _TOKEN, _SENTENCE, _CONTRACTION = range(4)  # and 4: a contraction that ends a sentence
_LONGEST_READ = 1000  # characters the network sees at once; longer paragraphs go on behind a sentence's end
_CONFIG_FILE, _WEIGHTS_FILE = SEGMENTER_FILES
_FORMAT = 1
_FEATURES = ["space_before", "capitalized", "numeric", "end_of_para", "start_of_para"]  # as stanza trains its own


@dataclass(frozen=True)
class Segmenter:
    """A trained segmenter. trainer: stanza's Trainer, which holds the network. expansions: contraction -> words."""

    trainer: Any
    language: str
    expansions: Mapping[str, tuple[str, ...]]

    def paragraphs(self, texts: Sequence[str]) -> list[tuple[Sentence, ...]]:
        """The sentences of each text, one paragraph, normalised (lowres.text.normalise): its tokens as they stand.

        Joined, with a space where space_after says so, the tokens give the text back. An empty text has no sentences.
        """
        full = [text for text in texts if text]
        if not full:
            return [() for _ in texts]
        args = self.trainer.args
        data = _Texts(args, full, vocab=self.trainer.vocab, dictionary=self.trainer.dictionary)
        found, _ = predict(self.trainer, data, args["batch_size"], _LONGEST_READ, use_regex_tokens=True, num_workers=0)
        tagged = iter(zip(full, found, strict=True))
        return [tuple(self._sentences(*next(tagged))) if text else () for text in texts]

    def _sentences(self, text: str, labels: Sequence[int]) -> Iterator[Sentence]:
        tokens: list[Token] = []
        start = 0
        for end, label in enumerate(labels, 1):
            if label == _CONTINUES and end < len(text):
                continue
            form = text[start:end].strip()
            if form:
                contraction = label >= _CONTRACTION
                words = self.expansions.get(form.lower(), (form,)) if contraction else (form,)
                tokens.append(Token(form, words, end == len(text) or text[end] == " "))
            if tokens and (label in (_SENTENCE, _CONTRACTION + 1) or end == len(text)):
                yield tuple(tokens)
                tokens = []
            start = end

    def save(self, folder: Path) -> None:
        """Writes `segmenter.json` and `segmenter.safetensors`."""
        trainer = self.trainer
        config = {
            "kind": "stanza-tokenizer",
            "format": _FORMAT,
            "language": self.language,
            "arguments": {name: trainer.args[name] for name in sorted(_kept_arguments(trainer.args))},
            "characters": trainer.vocab._id2unit,
            "dictionary": sorted(trainer.lexicon or ()),
            "expansions": {text: list(words) for text, words in sorted(self.expansions.items())},
        }
        write_json(folder / _CONFIG_FILE, config)
        save_file(_weights(trainer), folder / _WEIGHTS_FILE)

    @classmethod
    def load(cls, folder: Path) -> "Segmenter":
        """The segmenter that was saved in `folder`. Raises DataError where a file is missing or damaged."""
        try:
            config = read_json(folder / _CONFIG_FILE)
            if config["kind"] != "stanza-tokenizer" or config["format"] != _FORMAT:
                raise DataError(f"{folder / _CONFIG_FILE}: a segmenter that this version of lowres cannot read")
            arguments = {**_defaults(), **config["arguments"]}
            vocab = _vocab(config["characters"], arguments["lang"])
            trainer = _trainer(arguments, vocab, config["dictionary"])
            expansions = {text: tuple(words) for text, words in config["expansions"].items()}
            trainer.model.load_state_dict(load_file(folder / _WEIGHTS_FILE))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            line = " ".join(str(error).split())
            raise DataError(f"{folder}: not a whole segmenter ({line}); train it again, or copy it again") from error
        return cls(trainer, config["language"], expansions)


class _Texts(TokenizationDataset):
    """Stanza's data over texts as they are, one paragraph each; it would cut a text of its own at blank lines.

    Python's own name for white space is wider than ours, so lengths stay: one label a character.
    """

    def __init__(self, args: Mapping[str, Any], texts: Sequence[str], **settings: Any):
        super().__init__(args, input_text=" ", evaluation=True, **settings)
        self.data = [[(" " if character.isspace() else character, 0) for character in text] for text in texts]


# --- training --------------------------------------------------------------------------------------------------------


def train(paragraphs: Mapping[str, Sequence[Paragraph]], spec: SegmenterSettings, language: str, run: Run) -> Segmenter:
    """A segmenter from the paragraphs of "train"; the state with the best scores on "dev" is kept.

    The same treebank, spec and threads give the same weights, whether or not the training was killed between: every
    `eval_steps` steps are one round with random numbers of its own, and the state after it is saved in run.work.
    Notes steps, best_step, and how many characters and words the network knows. Raises NotFinite where the loss is.
    """
    torch.set_num_threads(run.threads)
    arguments = _arguments(paragraphs["train"], spec, language)
    lexicon = _lexicon(paragraphs["train"], arguments) if spec.dictionary else None
    if lexicon:
        arguments["num_dict_feat"] = int(np.percentile([len(word) for word in lexicon], 95))
        lexicon = [word for word in lexicon if len(word) <= arguments["num_dict_feat"]]
        arguments["feat_dim"] += 2 * arguments["num_dict_feat"]
    arguments["use_dictionary"] = bool(lexicon)
    expansions = contractions(paragraphs["train"])
    arguments["use_mwt"] = bool(expansions)
    batches = _training_batches(paragraphs["train"], arguments, lexicon, expansions)
    arguments["vocab_size"] = len(batches.vocab)
    torch.manual_seed(spec.seed)
    trainer = _trainer(arguments, batches.vocab, lexicon)
    segmenter = Segmenter(trainer, language, expansions)
    state = _State.resumed(run.work, trainer)
    while state.step < spec.steps and state.step - state.best_step < spec.patience_steps:
        _train_round(trainer, batches, spec, state.step, run)
        state.step = min(state.step + spec.eval_steps, spec.steps)
        score = _dev_score(segmenter, paragraphs["dev"])
        if score > state.best_score:
            state.best_score, state.best_step, state.best = score, state.step, _weights(trainer)
        state.save(run.work, trainer)
        run.progress(state.step, spec.steps, "steps", f"dev F1 {100 * score:.2f}, best {100 * state.best_score:.2f}")
    trainer.model.load_state_dict(state.best)
    run.note(steps=state.step, best_step=state.best_step, characters=len(batches.vocab), dictionary=len(lexicon or ()))
    return segmenter


def _train_round(trainer: Trainer, batches: DataLoader, spec: SegmenterSettings, first: int, run: Run) -> None:
    """The steps up to the next look at the dev split. Stanza draws from global generators, seeded for each round."""
    seed = int(fingerprint([spec.seed, first])[:8], 16)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    loss = 0.0
    for step in range(first, min(first + spec.eval_steps, spec.steps)):
        loss = trainer.update(batches.next(unit_dropout=spec.unit_dropout, feat_unit_dropout=spec.unit_dropout))
        if not np.isfinite(loss):
            raise NotFinite(f"the loss of the segmenter is {loss} at step {step}; try a smaller lr")
        run.progress(step + 1, spec.steps, "steps", f"loss {loss:.3f}")


def _dev_score(segmenter: Segmenter, paragraphs: Sequence[Paragraph]) -> float:
    """What decides which state is kept: the harmonic mean of the F1 of tokens and of sentences."""
    scores = score(segmenter, paragraphs)
    if not scores.tokens or not scores.sentences:
        return 0.0
    return 2 / (1 / scores.tokens + 1 / scores.sentences)


@dataclass
class _State:
    """Where a training is: its best weights so far, and what it goes on from."""

    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def resumed(cls, work: Path, trainer: Trainer) -> "_State":
        """The state that was saved in `work`, put into `trainer`; else the start."""
        path = work / "state.pt"
        if not path.is_file():
            return cls(best=_weights(trainer))
        saved = torch.load(path, weights_only=True)
        trainer.model.load_state_dict(saved["model"])
        trainer.optimizer.load_state_dict(saved["optimizer"])
        return cls(saved["step"], saved["best_step"], saved["best_score"], saved["best"])

    def save(self, work: Path, trainer: Trainer) -> None:
        """Writes the state, whole or not at all."""
        partial = work / "state.partial"
        torch.save(
            {**vars(self), "model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict()}, partial
        )
        partial.replace(work / "state.pt")


def _training_batches(
    paragraphs: Sequence[Paragraph],
    arguments: dict[str, Any],
    lexicon: Sequence[str] | None,
    expansions: Mapping[str, tuple[str, ...]],
) -> DataLoader:
    """Stanza's batches, with its augmentations, from text and a label for each of its characters.

    Stanza reads labels from files alone, so they are put into a loader that was made from the text.
    """
    dictionary = create_dictionary(lexicon) if lexicon else None
    units = [_labelled(paragraph) for paragraph in paragraphs]

    class Batches(DataLoader):
        """`init_vocab` is the first thing that looks at the data."""

        def init_vocab(self) -> Vocab:
            self.data = units
            return super().init_vocab()

    return Batches(arguments, input_text=" ", dictionary=dictionary, mwt_expansions=dict(expansions))


def _labelled(paragraph: Paragraph) -> list[tuple[str, int]]:
    """The characters of a paragraph and what each ends; a space belongs to the token behind it."""
    units: list[tuple[str, int]] = []
    space = ""
    for sentence in paragraph.sentences:
        for place, token in enumerate(sentence, 1):
            label = _CONTRACTION if len(token.words) > 1 else _TOKEN
            text = space + token.text
            units += [(character, _CONTINUES) for character in text[:-1]]
            units.append((text[-1], label + (place == len(sentence))))
            space = " " if token.space_after else ""
    return units


def _lexicon(paragraphs: Sequence[Paragraph], arguments: Mapping[str, Any]) -> list[str]:
    """Tokens that the network is shown, in lower case: letters, no digits; of Vietnamese those that hold a space."""
    least_parts = 2 if arguments["lang"] == "vi" else 1
    tokens = {t.text.lower() for paragraph in paragraphs for sentence in paragraph.sentences for t in sentence}
    return sorted(
        token
        for token in tokens
        if len(token) > 1
        and len(token.split(" ")) >= least_parts
        and any(map(str.isalpha, token))
        and not any(map(str.isdigit, token))
    )


# --- what stanza is told ---------------------------------------------------------------------------------------------

_DEFAULTS_KEPT = (
    "rnn_layers",
    "conv_res",
    "hier_conv_res",
    "hierarchical",
    "hier_invtemp",
    "tok_noise",
    "feat_dropout",
)


def _defaults() -> dict[str, Any]:
    """Stanza's own arguments."""
    return {**vars(build_argparse().parse_args([])), "feat_funcs": list(_FEATURES), "num_dict_feat": 0}


def _kept_arguments(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The arguments that a saved segmenter depends on."""
    named = ("lang", "shorthand", "skip_newline", "batch_size", "max_seqlen", "emb_dim", "hidden_dim", "dropout")
    sizes = ("feat_funcs", "feat_dim", "num_dict_feat", "use_dictionary", "use_mwt", "vocab_size")
    return (name for name in (*named, *sizes, *_DEFAULTS_KEPT) if name in arguments)


def _arguments(paragraphs: Sequence[Paragraph], spec: SegmenterSettings, language: str) -> dict[str, Any]:
    """Stanza's arguments for a training. A window is three mean sentences, in hundreds, as in stanza's own scripts."""
    sentences = [len(Paragraph((sentence,)).text) for paragraph in paragraphs for sentence in paragraph.sentences]
    code = getattr(pycountry.languages.get(alpha_3=language), "alpha_2", language)
    arguments = _defaults()
    arguments.update(
        lang=code,
        shorthand=f"{code}_lowres",
        max_seqlen=max(100, -(-3 * sum(sentences) // (100 * len(sentences))) * 100),
        batch_size=spec.batch_size,
        lr0=spec.lr,
        emb_dim=spec.emb_dim,
        hidden_dim=spec.hidden_dim,
        dropout=spec.dropout,
        feat_dim=len(_FEATURES),
    )
    return arguments


def _trainer(arguments: dict[str, Any], vocab: Vocab, lexicon: Sequence[str] | None) -> Trainer:
    """Stanza's trainer with fresh weights, drawn from torch's global generator."""
    dictionary = create_dictionary(lexicon) if lexicon else None
    return Trainer(arguments, vocab=vocab, lexicon=lexicon or None, dictionary=dictionary, device="cpu")


def _vocab(characters: list[str], language: str) -> Vocab:
    """The vocabulary of these characters, in this order."""
    return Vocab.load_state_dict(
        {
            "lang": language,
            "idx": 0,
            "cutoff": 0,
            "lower": False,
            "_id2unit": characters,
            "_unit2id": {unit: place for place, unit in enumerate(characters)},
        }
    )


def _weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in trainer.model.state_dict().items()}
