"""The stages of tokenizers: train one on a corpus, measure it, read GPT-2's, and pack a corpus into token arrays."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lowres.artifacts import Corpus, Run
from lowres.errors import DataError
from lowres.text.words import Splitter, load_splitter
from lowres.tokenizers.base import Tokenizer, load_tokenizer
from lowres.tokenizers.spec import (
    LEAST_PIECES,
    FertilitySpec,
    Gpt2Spec,
    HfSpec,
    PackSpec,
    TokenizerSpec,
    WordTokenizerSpec,
)

PACKED_SPLITS = ("train", "valid")
_BATCH_CHARS = 1 << 16
_MEASURED_BYTES = 2_000_000


def train_tokenizer(inputs: Mapping[str, Path], spec: TokenizerSpec, run: Run) -> None:
    """Trains SentencePiece on documents of the train split of `corpus`, drawn by a hash of their ids.

    Notes vocab_size (it may be under the one asked for), bytes_seen, and on the first 2 MB of the valid split
    fertility (tokens a word between spaces), tokens_per_character, tokens_per_byte and unknown_rate.
    """
    from lowres.tokenizers.subword import train_subword

    corpus = Corpus(inputs["corpus"])
    run.progress(0, 2, "steps", "drawing documents")
    texts = sample_texts(corpus, spec.subword.sample_bytes)
    run.progress(1, 2, "steps", f"SentencePiece on {len(texts)} documents")
    tokenizer = train_subword(texts, spec.subword, spec.language)
    if tokenizer.vocab_size < LEAST_PIECES:
        raise DataError(
            f"the corpus is too small for a tokenizer: {len(texts)} documents give {tokenizer.vocab_size} pieces, at "
            f"least {LEAST_PIECES} are needed; add text, raise sample_bytes, or set byte_fallback = true"
        )
    tokenizer.save(run.out)
    sizes = measure(tokenizer, corpus, "valid", _MEASURED_BYTES)
    run.note(
        vocab_size=tokenizer.vocab_size,
        vocab_size_asked=spec.subword.vocab_size,
        documents_seen=len(texts),
        bytes_seen=sum(len(text.encode("utf-8")) for text in texts),
        **sizes.facts(),
    )


def train_word_tokenizer(inputs: Mapping[str, Path], spec: WordTokenizerSpec, run: Run) -> None:
    """The most frequent words of documents of the train split of `corpus`, as `segmenter` or white space tells them.

    Notes what train_tokenizer notes, and segmented_fertility: tokens a word of the segmenter.
    """
    from lowres.tokenizers.words import train_words

    corpus, segmenter = Corpus(inputs["corpus"]), inputs.get("segmenter")
    texts = sample_texts(corpus, spec.words.sample_bytes)
    seen = sum(len(text.encode("utf-8")) for text in texts)

    def batches() -> Iterator[list[str]]:
        done = 0
        for batch in _batches(iter(texts)):
            yield batch
            done += sum(len(text.encode("utf-8")) for text in batch)
            run.progress(done, seen, "bytes", "counting words")

    tokenizer = train_words(batches(), spec.words, spec.language, segmenter)
    if tokenizer.vocab_size < LEAST_PIECES:
        raise DataError(
            f"the corpus is too small for a word tokenizer: {len(texts)} documents give {tokenizer.vocab_size} words, "
            f"at least {LEAST_PIECES} are needed; add text, or lower words.min_count (it is {spec.words.min_count})"
        )
    tokenizer.save(run.out)
    run.note(
        vocab_size=tokenizer.vocab_size,
        vocab_size_asked=spec.words.vocab_size,
        documents_seen=len(texts),
        bytes_seen=seen,
        **measure(tokenizer, corpus, "valid", _MEASURED_BYTES, tokenizer.speller.splitter).facts(),
    )


def measure_fertility(inputs: Mapping[str, Path], spec: FertilitySpec, run: Run) -> None:
    """`tokenizer` on the first 2 MB of the valid split of `corpus`, with words told by `segmenter`; facts alone.

    Notes fertility (tokens a word between spaces), segmented_fertility (tokens a word of the segmenter),
    segmented_words_per_sentence, tokens_per_character, tokens_per_byte and unknown_rate.
    Those of segmented words are left out where `spec.segmented` is false.
    """
    splitter = load_splitter(inputs.get("segmenter")) if spec.segmented else None
    tokenizer = load_tokenizer(inputs["tokenizer"])
    run.note(**measure(tokenizer, Corpus(inputs["corpus"]), "valid", _MEASURED_BYTES, splitter).facts())


def read_gpt2_tokenizer(inputs: Mapping[str, Path], spec: Gpt2Spec, run: Run) -> None:
    """GPT-2's byte-level BPE from its two files, kept beside each other so that load_tokenizer reads them."""
    from lowres.tokenizers.gpt2 import Gpt2Tokenizer

    tokenizer = Gpt2Tokenizer(run.file(spec.encoder_sha256).read_bytes(), run.file(spec.merges_sha256).read_bytes())
    tokenizer.save(run.out)
    run.note(vocab_size=tokenizer.vocab_size)


def read_hf_tokenizer(inputs: Mapping[str, Path], spec: HfSpec, run: Run) -> None:
    """Copies a `tokenizer.json`. Notes vocab_size, model, bos, pad, unk and the file's sha256.

    Raises DataError where its bytes are not those that were named.
    """
    from lowres.tokenizers.definition import Roles
    from lowres.tokenizers.huggingface import HfTokenizer

    try:
        content = Path(spec.path).read_bytes()
    except OSError as error:
        raise DataError(f"{spec.path}: cannot be read ({error.strerror}); put the tokenizer back there") from error
    if hashlib.sha256(content).hexdigest() != spec.sha256:
        raise DataError(f"{spec.path}: its bytes changed since the run was planned; start the run again")
    tokenizer = HfTokenizer(content, Roles(spec.bos, spec.pad, spec.unk))
    tokenizer.save(run.out)
    roles = {"bos": spec.bos, "pad": spec.pad, "unk": spec.unk}
    run.note(vocab_size=tokenizer.vocab_size, model=tokenizer.kind, sha256=spec.sha256, **roles)


def pack_tokens(inputs: Mapping[str, Path], spec: PackSpec, run: Run) -> None:
    """`corpus` as token ids of `tokenizer`: `{train,valid}.npy` and `{train,valid}.offsets.npy` (see PackedTokens).

    Documents are read, encoded and written some 65,000 characters at a time. Document d is
    tokens[offsets[d]:offsets[d + 1]], its first token bos_id. Notes vocab_size and, by split, tokens (with those
    bos_ids), bytes, bytes_per_token and unknown_rate (without them).
    """
    corpus, tokenizer = Corpus(inputs["corpus"]), load_tokenizer(inputs["tokenizer"])
    by_split = {split: _split_bytes(corpus, split) for split in PACKED_SPLITS}
    total, done = sum(by_split.values()), 0
    facts: dict[str, dict[str, float]] = {"tokens": {}, "bytes": {}, "bytes_per_token": {}, "unknown_rate": {}}
    for split in PACKED_SPLITS:
        sizes = _pack_split(corpus, tokenizer, split, run, (done, total))
        done += by_split[split]
        facts["tokens"][split] = sizes.tokens + sizes.documents
        facts["bytes"][split] = sizes.text_bytes
        facts["bytes_per_token"][split] = sizes.text_bytes / max(sizes.tokens, 1)
        facts["unknown_rate"][split] = sizes.unknown_tokens / max(sizes.tokens, 1)
    if not facts["tokens"]["train"]:
        raise DataError("the train split of the corpus has no documents to pack; check its filters and byte budget")
    run.note(vocab_size=tokenizer.vocab_size, **facts)


def sample_texts(corpus: Corpus, max_bytes: int) -> list[str]:
    """Documents of the train split, drawn by a hash of their ids until `max_bytes` of UTF-8, in their stored order.

    The one that crosses the limit is the last that was drawn, so there is at least one where there are any.
    """
    table = pq.read_table(corpus.path / "train.parquet", columns=["id", "bytes"])
    ids, sizes = table.column("id").to_pylist(), table.column("bytes").to_pylist()
    drawn, seen = set(), 0
    for row in sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"tokenizer {ids[row]}".encode()).digest()):
        if seen >= max_bytes:
            break
        drawn.add(row)
        seen += sizes[row]
    return [text for row, text in enumerate(corpus.texts("train")) if row in drawn]


@dataclass
class Sizes:
    """What some encoded documents add up to. tokens: no bos_ids. words: between spaces; segmented: by a splitter."""

    documents: int = 0
    characters: int = 0
    text_bytes: int = 0
    words: int = 0
    segmented_words: int = 0
    segmented_sentences: int = 0
    tokens: int = 0
    unknown_tokens: int = 0

    def facts(self) -> dict[str, float]:
        """As a manifest holds them; the segmented ones where words were told by a splitter."""
        facts = {
            "fertility": self.tokens / max(self.words, 1),
            "tokens_per_character": self.tokens / max(self.characters, 1),
            "tokens_per_byte": self.tokens / max(self.text_bytes, 1),
            "unknown_rate": self.unknown_tokens / max(self.tokens, 1),
        }
        if self.segmented_words:
            facts["segmented_fertility"] = self.tokens / self.segmented_words
            facts["segmented_words_per_sentence"] = self.segmented_words / self.segmented_sentences
        return facts


def measure(
    tokenizer: Tokenizer, corpus: Corpus, split: str, max_bytes: int, splitter: Splitter | None = None
) -> Sizes:
    """Sizes of the first `max_bytes` of a split (whole documents), under `tokenizer`."""
    sizes = Sizes()
    for texts in _batches(corpus.texts(split)):
        for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
            _add(sizes, tokenizer, text, ids)
            sizes.characters += len(text)
            sizes.words += len(text.split())
            if splitter is not None:
                for sentences in splitter.paragraphs(text.split("\n")):
                    sizes.segmented_sentences += len(sentences)
                    sizes.segmented_words += sum(map(len, sentences))
            if sizes.text_bytes >= max_bytes:
                return sizes
    return sizes


def _pack_split(corpus: Corpus, tokenizer: Tokenizer, split: str, run: Run, progress: tuple[int, int]) -> Sizes:
    """Writes the two arrays of one split. progress: bytes done before it, and in all."""
    kind = np.dtype(np.uint16 if tokenizer.vocab_size <= 65535 else np.uint32)
    sizes, end = Sizes(), 0
    before, total = progress
    with (
        NpyWriter(run.out / f"{split}.npy", kind) as tokens,
        NpyWriter(run.out / f"{split}.offsets.npy", np.dtype(np.int64)) as offsets,
    ):
        offsets.append(np.zeros(1, np.int64))
        for texts in _batches(corpus.texts(split)):
            stream: list[int] = []
            ends = []
            for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
                _add(sizes, tokenizer, text, ids)
                stream.append(tokenizer.bos_id)
                stream += ids
                ends.append(end + len(stream))
            tokens.append(np.array(stream, kind))
            offsets.append(np.array(ends, np.int64))
            end += len(stream)
            run.progress(before + sizes.text_bytes, total, "bytes", split)
    return sizes


def _add(sizes: Sizes, tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
    """Counts one document."""
    sizes.documents += 1
    sizes.text_bytes += len(text.encode("utf-8"))
    sizes.tokens += len(ids)
    if tokenizer.unk_id is not None:
        sizes.unknown_tokens += ids.count(tokenizer.unk_id)


def _split_bytes(corpus: Corpus, split: str) -> int:
    return sum(pq.read_table(corpus.path / f"{split}.parquet", columns=["bytes"]).column("bytes").to_pylist())


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    """Consecutive texts, about _BATCH_CHARS characters at a time."""
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class NpyWriter:
    """A one-dimensional `.npy` file that grows: np.load reads it, memory-mapped too, once it is closed.

    numpy pads a header so that the first axis can grow in place; on leaving, the header is written again with the
    length reached.
    """

    def __init__(self, path: Path, kind: np.dtype[Any]):
        self.path = path
        self.kind = kind
        self.length = 0

    def __enter__(self) -> "NpyWriter":
        self._file = self.path.open("wb")
        self._write_header()
        self._start = self._file.tell()
        return self

    def append(self, values: np.ndarray) -> None:
        """Writes (n,) values of the file's type at its end."""
        self._file.write(values.astype(self.kind, copy=False).tobytes())
        self.length += len(values)

    def __exit__(self, *exception: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()
            if self._file.tell() != self._start:
                raise RuntimeError("numpy wrote headers of two lengths")

    def _write_header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.kind), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
