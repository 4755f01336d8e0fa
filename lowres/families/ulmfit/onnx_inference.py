"""Prediction by onnxruntime: an exported classifier's graphs, without torch or fastai."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowres.artifacts import read_json
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.families.ulmfit.config import ExportConfig, LmConfig, Shape, state_widths
from lowres.labels import labelling
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.training.calibration import tempered


class OnnxClassifier:
    """An exported classifier (lowres.training.classifier.Classifier). models: configuration and session, each."""

    def __init__(self, models: Sequence[tuple[LmConfig, Any]], tokenizer: Tokenizer, shape: Shape):
        self.models, self.tokenizer, self.shape = models, tokenizer, shape
        self.labels = shape.labels
        self.kind: TaskKind = shape.kind

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), labels) float32; where a text has one label, rows sum to 1. One text at a time."""
        total = np.zeros((len(texts), len(self.labels)), np.float64)
        for row, encoded in zip(total, self.tokenizer.encode(texts), strict=True):
            for config, session in self.models:
                ids = [self.tokenizer.bos_id, *(encoded[::-1] if config.direction == "backward" else encoded)]
                row += self._read(config, session, ids)
        return tempered(total / len(self.models), self.shape.temperature, labelling(self.kind)).astype(np.float32)

    def _read(self, config: LmConfig, session: Any, ids: list[int]) -> np.ndarray:
        """(labels,): the graph's answer behind the last piece; pieces before the last `max_len` tokens pool nothing."""
        empty = _empty_pool(config.emb_size)
        widths = [width for layer in state_widths(config) for width in layer]
        given = {f"state_{k}": np.zeros((1, width), np.float32) for k, width in enumerate(widths)} | empty
        names = ["probabilities", *(f"next_{name}" for name in given)]
        probabilities = np.zeros(0)
        for start in range(0, len(ids), self.shape.bptt):
            piece = np.array([ids[start : start + self.shape.bptt]], np.int64)
            probabilities, *rest = session.run(names, {"ids": piece, **given})
            given = dict(zip(given, rest, strict=True))
            if len(ids) - start > self.shape.max_len:
                given |= empty
        return probabilities[0]


def _empty_pool(width: int) -> dict[str, np.ndarray]:
    """The pooling before a text."""
    zeros = np.zeros((1, width), np.float32)
    return {"most": zeros - np.inf, "total": zeros, "count": np.zeros(1, np.float32)}


def load(folder: Path, threads: int = 1) -> OnnxClassifier:
    """The classifier of an exported folder that holds ONNX graphs. Raises DataError where it holds none."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DataError("ONNX graphs are run by onnxruntime: pip install 'lowres[onnx]'") from error
    config = ExportConfig.model_validate(read_json(folder / "config.json"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    models = []
    for network in config.directions:
        path = folder / f"{network.direction}.onnx"
        if not path.is_file():
            raise DataError(f"{path}: is missing; export the classifier with --onnx")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        models.append((network, session))
    return OnnxClassifier(models, load_tokenizer(folder / "tokenizer"), config.shape)
