"""Loaders as fastai's show_batch, show_results and get_preds ask for them: batches whose rows can be told in words."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from fastai.data.core import DataLoaders
from fastai.torch_core import display_df
from fastcore.imports import in_notebook
from torch import Tensor

from lowres.cards import TaskKind
from lowres.families.ulmfit.data import ClassifierBatches, LmBatches
from lowres.labels import labelling
from lowres.tokenizers.base import Tokenizer

_LONGEST = 150  # tokens of a text that are shown, as in fastai

Rows = Callable[[Tensor, Tensor, Tensor | None, int], list[dict[str, str]]]
"""(inputs, targets, predictions or None, most rows) -> a dict a row, column -> words."""


class ShownBatches:
    """Batches, and the words of their rows; in all else it is the loader `batches`."""

    n_inp = 1
    """Of a batch's tensors the first is the input: what fastai asks its loaders for."""

    def __init__(self, batches: LmBatches | ClassifierBatches, rows: Rows):
        self.batches, self.rows = batches, rows

    def __getattr__(self, name: str) -> Any:
        if name in ("batches", "rows"):  # asked for while a copy of this is being made
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)

    def new(self, shuffle: bool | None = None, **_: Any) -> "ShownBatches":
        """The same texts from the start: in their stored order, shuffled (always alike), or as here."""
        batches = copy(self.batches)
        if shuffle is not None:
            batches.redraw = None  # as they are cut now
            batches.seed = (self.batches.seed or 0) if shuffle else None
            batches.begin_at(0)
        return ShownBatches(batches, self.rows)

    def one_batch(self) -> tuple[Tensor, Tensor]:
        """The first batch."""
        return next(iter(self.batches))

    def show_batch(self, b: tuple[Tensor, Tensor] | None = None, max_n: int = 9, **_: Any) -> None:
        """Shows the rows of a batch, the first one where none is given."""
        inputs, targets = b or self.one_batch()
        _display(self.rows(inputs, targets, None, max_n))

    def show_results(self, b: tuple[Tensor, Tensor], out: Tensor, max_n: int = 9, **_: Any) -> None:
        """Shows the rows of a batch beside what was predicted."""
        _display(self.rows(*b, out, max_n))


def _display(rows: list[dict[str, str]]) -> None:
    table = pd.DataFrame(rows)
    with pd.option_context("display.max_colwidth", None):
        if in_notebook():
            display_df(table)
        else:
            print(table.to_string())


def show_tokens(loaders: DataLoaders, tokenizer: Tokenizer, *, backward: bool) -> None:
    """Lets a language model's loaders be shown: the text, the text one token further, the likeliest tokens."""
    _show(loaders, partial(_token_rows, tokenizer, backward))


def show_labels(
    loaders: DataLoaders, tokenizer: Tokenizer, labels: Sequence[str], kind: TaskKind, *, backward: bool
) -> None:
    """Lets a classifier's loaders be shown: text, label, predicted label; of label sets, as JSON."""
    _show(loaders, partial(_label_rows, tokenizer, partial(labelling(kind).spelled, order=labels), backward))


def _show(loaders: DataLoaders, rows: Rows) -> None:
    loaders.loaders = [ShownBatches(batches, rows) for batches in loaders.loaders]


def _token_rows(
    tokenizer: Tokenizer, backward: bool, inputs: Tensor, targets: Tensor, predicted: Tensor | None, most: int
) -> list[dict[str, str]]:
    columns = {"text": inputs, "next": targets} | ({} if predicted is None else {"predicted": predicted})
    return [
        {name: _text(tokenizer, backward, ids[row]) for name, ids in columns.items()}
        for row in range(min(most, len(inputs)))
    ]


def _label_rows(
    tokenizer: Tokenizer,
    spelled: Callable[[np.ndarray], list[str]],
    backward: bool,
    inputs: Tensor,
    targets: Tensor,
    predicted: Tensor | None,
    most: int,
) -> list[dict[str, str]]:
    most = min(most, len(inputs))
    columns = {"label": targets} | ({} if predicted is None else {"predicted": predicted})
    shown = {name: spelled(column[:most].cpu().numpy()) for name, column in columns.items()}
    texts = [_text(tokenizer, backward, inputs[row]) for row in range(most)]
    return [{"text": text} | {name: of[row] for name, of in shown.items()} for row, text in enumerate(texts)]


def _text(tokenizer: Tokenizer, backward: bool, row: Tensor) -> str:
    ids = [k for k in row.tolist() if k != tokenizer.pad_id]
    if backward:
        ids.reverse()
    return tokenizer.decode(ids[:_LONGEST])
