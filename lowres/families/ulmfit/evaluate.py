"""The held-out loss of a language model: every document from an empty state, every text token counted once."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from lowres.artifacts import Run
from lowres.errors import DataError, NotFinite
from lowres.families.ulmfit.models import MixedSequential
from lowres.metrics.bits import HeldOutLoss, text_sizes
from lowres.tokenizers.base import Tokenizer

_ROWS, _STEP = 16, 64


@torch.no_grad()
def document_nats(model: MixedSequential, documents: Sequence[Sequence[int]], device: str = "cpu") -> float:
    """Sum of -log p over documents side by side. documents: ids behind bos, longest first; bos is not predicted."""
    model.reset()
    nats, longest = 0.0, len(documents[0])
    for start in range(0, longest - 1, _STEP):
        pieces = [document[start : start + _STEP + 1] for document in documents if len(document) > start + 1]
        width = len(pieces[0])
        ids = torch.tensor([[*piece, *[-100] * (width - len(piece))] for piece in pieces], device=device)
        hidden = model(ids[:, :-1].clamp(min=0))[0]
        scores = model.decoder.scores(hidden)
        nats += float(F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
    return nats


def held_out_loss(
    model: MixedSequential, tokenizer: Tokenizer, texts: Sequence[str], run: Run, *, backward: bool, device: str = "cpu"
) -> HeldOutLoss:
    """The loss of a model in evaluation mode over some texts. Raises NotFinite, or DataError where there is no text."""
    encoded = [ids[::-1] if backward else ids for ids in tokenizer.encode(texts)]
    documents = sorted(([tokenizer.bos_id, *ids] for ids in encoded if ids), key=len, reverse=True)
    if not documents:
        raise DataError("the corpus has no held-out text; raise splits.test or take more documents")
    nats = 0.0
    for start in range(0, len(documents), _ROWS):
        nats += document_nats(model, documents[start : start + _ROWS], device)
        run.progress(min(start + _ROWS, len(documents)), len(documents), "documents")
    if not math.isfinite(nats):
        raise NotFinite("the held-out loss is not a number; the language model diverged in training")
    size, words = text_sizes(texts)
    return HeldOutLoss(
        nats=nats,
        tokens=sum(len(ids) for ids in encoded),
        unknown_tokens=sum(ids.count(tokenizer.unk_id) for ids in encoded) if tokenizer.unk_id is not None else 0,
        unknown_bytes=sum(tokenizer.unknown_bytes(text) for text in texts),
        text_bytes=size,
        words=words,
    )
