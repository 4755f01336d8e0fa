"""What a saved network is: config.json of a language model, classifier.json of a classifier. Imports no framework."""

from pathlib import Path

from pydantic import Field, ValidationError

from lowres.artifacts import Spec, read_json
from lowres.cards import TaskKind
from lowres.errors import DataError
from lowres.families.ulmfit.spec import Network, Way
from lowres.fingerprint import added_later
from lowres.tokenizers.base import Tokenizer


class LmConfig(Network):
    """config.json: the network, what its ids mean, and which way it reads."""

    vocab_size: int
    pad_id: int
    direction: Way

    @classmethod
    def of(cls, network: Network, tokenizer: Tokenizer, direction: Way) -> "LmConfig":
        """The configuration of a network over a tokenizer's ids."""
        sizes = {name: getattr(network, name) for name in Network.model_fields}
        return cls(**sizes, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id, direction=direction)

    @property
    def architecture(self) -> str:
        """For example "QRNN, 3 layers of 512"."""
        cell = {"qrnn": "QRNN", "awd-lstm": "AWD-LSTM"}[self.cell]
        way = ", backward" if self.direction == "backward" else ""
        return f"{cell}, {self.n_layers} layers of {self.n_hid}{way}"

    def widths(self, layer: int) -> tuple[int, int]:
        """(inputs, outputs) of a layer; the last is as wide as the embedding."""
        before = self.emb_size if layer == 0 else self.n_hid
        return before, self.emb_size if layer == self.n_layers - 1 else self.n_hid


def state_widths(config: LmConfig) -> list[tuple[int, ...]]:
    """How wide the tensors of each layer's state are. QRNN: c, and with window 2 the input before; LSTM: h, c."""
    outputs = [config.widths(k)[1] for k in range(config.n_layers)]
    if config.cell == "awd-lstm":
        return [(width, width) for width in outputs]
    return [(width, config.emb_size) if k == 0 and config.window == 2 else (width,) for k, width in enumerate(outputs)]


class Shape(Spec):
    """classifier.json: what a classifier's network depends on beside the encoder."""

    labels: tuple[str, ...]
    bptt: int
    max_len: int
    drop_mult: float
    temperature: float = added_later(1.0, neutral=1.0, gt=0)
    """Log probabilities are divided by it, then made to sum to 1 again; the most probable label stays."""
    kind: TaskKind = added_later("classification", neutral="classification")
    """One label a text, or a set of them: softmax, or a sigmoid a label."""


class ExportConfig(Spec):
    """config.json of an exported classifier."""

    architecture: str = "ulmfit-classifier"
    shape: Shape
    directions: tuple[LmConfig, ...] = Field(min_length=1, max_length=2)
    weights: str = Field(default="float32", pattern="^(float32|int8)$")
    """int8: matrices are rounded to 8 bits with a scale a row; the products take 8-bit numbers."""


def read_config(folder: Path) -> LmConfig:
    """The configuration in a language model's or a classifier's folder."""
    try:
        return LmConfig.model_validate(read_json(folder / "config.json"))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            f"{folder / 'config.json'}: not the configuration of an ULMFiT language model ({error})"
        ) from error
