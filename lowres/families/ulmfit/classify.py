"""The classifier: an encoder, fastai's concat pooling and head; one for each direction, probabilities averaged."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from fastai.text.models.awdlstm import awd_lstm_clas_config
from fastai.text.models.core import PoolingLinearClassifier, SentenceEncoder, SequentialRNN
from torch import Tensor

from lowres.artifacts import read_json, write_json
from lowres.cards import TaskKind
from lowres.families.ulmfit.config import LmConfig, Shape, read_config
from lowres.families.ulmfit.data import pad_chunks
from lowres.families.ulmfit.models import lower_products
from lowres.families.ulmfit.outputs import output
from lowres.families.ulmfit.saved import build_encoder, product_dtype, put_weights, save_weights
from lowres.families.ulmfit.tensors import read_tensors
from lowres.labels import labelling
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.calibration import tempered

_HEAD_UNITS, _HEAD_DROPOUT = 50, 0.1
_ROWS = 64


class MixedSentenceEncoder(SentenceEncoder):
    """fastai's SentenceEncoder whose products run in `products`; the head reads float32."""

    bptt: int
    pad_idx: int
    max_len: int | None
    module: torch.nn.Module
    products = torch.float32

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, time) ids in pad_chunks' layout -> outputs (batch, time, width) and the mask of padding."""
        with lower_products(input.device, self.products):
            outputs, mask = self._read(input)
        return outputs.float(), mask

    def _read(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Reads chunk by chunk; what the network gives for the last `max_len` positions is kept.

        fastai counts the rows that are alive in a chunk and reads as many from the top. A text may end a chunk before a
        shorter one below it, which then loses its last words; so here all rows down to the last one alive are read.
        """
        rows, length = input.shape
        mask = torch.eq(input, self.pad_idx)
        self.reset()
        kept: list[Tensor] = []
        for start in range(0, length, self.bptt):
            alive = 1 + int((~mask[:, start]).nonzero()[-1])
            output = self.module(input[:alive, start : start + self.bptt])
            if self.max_len is None or length - start <= self.max_len:
                kept.append(torch.nn.functional.pad(output, (0, 0, 0, 0, 0, rows - alive)))
        outputs = torch.cat(kept, dim=1)
        return outputs, mask[:, -outputs.shape[1] :]


class ConcatPoolingClassifier(PoolingLinearClassifier):
    """fastai's head. The last output of a text is looked for at its last token.

    fastai counts the padding among the last `bptt` positions, and so padding in front of a text that begins there.
    """

    def forward(self, input: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, time, width) outputs and (batch, time) padding -> (batch, labels) scores, and the outputs twice."""
        outputs, mask = input
        last = outputs.shape[1] - 1 - (~mask).flip(1).int().argmax(1)
        shown = ~mask[:, :, None]
        mean = (outputs * shown).sum(1) / shown.sum(1)
        greatest = outputs.masked_fill(~shown, -torch.inf).amax(1)
        rows = torch.arange(len(outputs), device=outputs.device)
        return self.layers(torch.cat([outputs[rows, last], greatest, mean], 1)), outputs, outputs


def build_classifier(config: LmConfig, shape: Shape) -> SequentialRNN:
    """A classifier with fresh weights, drawn from torch's global generator. Its scores are the first of its outputs."""
    encoder = build_encoder(config, awd_lstm_clas_config, shape.drop_mult)
    sentences = MixedSentenceEncoder(shape.bptt, encoder, pad_idx=config.pad_id, max_len=shape.max_len)
    sentences.products = product_dtype(config)
    dropouts = [min(awd_lstm_clas_config["output_p"] * shape.drop_mult, 0.9), _HEAD_DROPOUT]
    units = [3 * config.emb_size, _HEAD_UNITS, len(shape.labels)]
    return SequentialRNN(sentences, ConcatPoolingClassifier(units, dropouts, bptt=shape.bptt))


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], *, backward: bool) -> list[list[int]]:
    """The ids of each text behind bos; backward: from the text's end."""
    return behind_bos(tokenizer.encode(texts), tokenizer.bos_id, backward=backward)


def behind_bos(texts: Sequence[Sequence[int]], bos_id: int, *, backward: bool) -> list[list[int]]:
    """Encoded texts, each behind `bos_id`; backward: from the text's end."""
    return [[bos_id, *(ids[::-1] if backward else ids)] for ids in texts]


class UlmfitClassifier:
    """A trained classifier (lowres.training.classifier.Classifier). models: configuration and network by direction."""

    def __init__(self, models: Sequence[tuple[LmConfig, SequentialRNN]], tokenizer: Tokenizer, shape: Shape):
        self.models, self.tokenizer, self.shape = models, tokenizer, shape
        self.labels = shape.labels
        self.kind: TaskKind = shape.kind

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), labels) float32; where a text has one label, rows sum to 1."""
        total = np.zeros((len(texts), len(self.labels)), np.float64)
        for config, model in self.models:
            encoded = encode_texts(self.tokenizer, texts, backward=config.direction == "backward")
            total += self._probabilities(model, encoded)
        return tempered(total / len(self.models), self.shape.temperature, labelling(self.kind)).astype(np.float32)

    @torch.no_grad()
    def _probabilities(self, model: SequentialRNN, encoded: list[list[int]]) -> np.ndarray:
        device = next(model.parameters()).device
        order = sorted(range(len(encoded)), key=lambda k: -len(encoded[k]))
        out = np.zeros((len(encoded), len(self.labels)), np.float64)
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            ids = pad_chunks([encoded[k] for k in rows], self.tokenizer.pad_id, self.shape.bptt)
            scores = model(ids.to(device))[0]
            out[rows] = output(self.kind).probabilities(scores).cpu().numpy()
        return out


def save_direction(folder: Path, config: LmConfig, model: SequentialRNN) -> None:
    """Adds one direction to a classifier's folder: `<direction>/config.json`, `<direction>/model.safetensors`."""
    own = folder / config.direction
    own.mkdir()
    write_json(own / "config.json", config.model_dump(mode="json"))
    save_weights(model, own / "model.safetensors")


def save_frame(folder: Path, shape: Shape, tokenizer: Tokenizer) -> None:
    """Writes what the directions of a classifier share: `classifier.json` and `tokenizer/`."""
    write_json(folder / "classifier.json", shape.model_dump(mode="json"))
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")


def load(path: Path) -> UlmfitClassifier:
    """The classifier in a folder, in evaluation mode on the CPU. Raises DataError where its files do not fit."""
    shape = Shape.model_validate(read_json(path / "classifier.json"))
    models = []
    for own in (path / way for way in ("forward", "backward") if (path / way).is_dir()):
        config = read_config(own)
        model = build_classifier(config, shape)
        put_weights(model, read_tensors(own / "model.safetensors"), str(own / "model.safetensors"))
        models.append((config, model.eval()))
    return UlmfitClassifier(models, load_tokenizer(path / "tokenizer"), shape)
