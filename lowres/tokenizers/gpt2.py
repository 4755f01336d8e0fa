"""GPT-2's byte-level BPE (Radford et al. 2019), which GPT-J shares: any text, no rules in front, nothing unknown.

Read from its two files, never by name: a lookup that fails offline has been seen to return a tokenizer of one piece.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lowres.artifacts import write_json
from lowres.errors import DataError
from lowres.tokenizers.spec import LEAST_PIECES

END_OF_TEXT = "<|endoftext|>"
_ENCODER_FILE, _MERGES_FILE, _ABOUT_FILE = "encoder.json", "vocab.bpe", "lowres_tokenizer.json"

_SHOWN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTES = {chr(byte): byte for byte in _SHOWN} | {
    chr(0x100 + place): byte for place, byte in enumerate(byte for byte in range(0x100) if byte not in _SHOWN)
}
"""GPT-2's spelling of bytes: those that show are themselves, the others are the characters from U+0100 on."""


class Gpt2Tokenizer:
    """See lowres.tokenizers.base.Tokenizer. `<|endoftext|>` in a text is plain text; only bos_id is the marker.

    encoder: the bytes of `encoder.json` (piece -> id). merges: the bytes of `vocab.bpe`, one merge a line, best first.
    pad_id is the first id after the pieces, so vocab_size is one more than their number: 50258 for GPT-2's own files.
    GPT-J's embedding has 50400 rows, of which 50257 and on are spare, so pad_id fits there.
    Raises DataError where the files are not a byte-level BPE of 256 pieces or more.
    """

    unk_id: int | None = None

    def __init__(self, encoder: bytes, merges: bytes):
        self._files = {_ENCODER_FILE: encoder, _MERGES_FILE: merges}
        vocab = _read_vocab(encoder)
        self.bos_id: int = vocab[END_OF_TEXT]
        self.pad_id: int = len(vocab)
        self.vocab_size: int = len(vocab) + 1
        try:
            self._tokenizer = Tokenizer(models.BPE(vocab, _read_merges(merges)))
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{_MERGES_FILE}: does not belong to this {_ENCODER_FILE} ({error})") from error
        # Without add_prefix_space a text gets the same ids whatever stands before it.
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
        self._tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without `<|endoftext|>`. RAYON_NUM_THREADS bounds the threads."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; `<|endoftext|>` and padding leave nothing, bytes that are not UTF-8 leave U+FFFD."""
        kept = [int(i) for i in ids if i != self.bos_id and i < self.pad_id]
        return self._tokenizer.decode(kept, skip_special_tokens=False)

    @property
    def surfaces(self) -> list[bytes | None]:
        """What bytes each id stands for; None for `<|endoftext|>` and padding."""
        found: list[bytes | None] = [None] * self.vocab_size
        for piece, i in self._tokenizer.get_vocab(with_added_tokens=False).items():
            found[i] = None if i == self.bos_id else bytes(_BYTES[character] for character in piece)
        return found

    def cut(self, text: str) -> list[int]:
        """The ids of a text, as encode gives them."""
        return self.encode([text])[0]

    def unknown_bytes(self, text: str) -> int:
        """Always 0: every byte has a piece."""
        return 0

    def save(self, folder: Path) -> None:
        """Writes the two files as they came, and `lowres_tokenizer.json`."""
        for name, content in self._files.items():
            (folder / name).write_bytes(content)
        write_json(folder / _ABOUT_FILE, {"kind": "gpt2", "vocab_size": self.vocab_size})

    @classmethod
    def load(cls, folder: Path) -> "Gpt2Tokenizer":
        """The tokenizer that was saved in `folder`. Raises DataError where a file of it is missing or damaged."""
        for name in (_ENCODER_FILE, _MERGES_FILE):
            if not (folder / name).is_file():
                raise DataError(f"{folder / name}: no such file; GPT-2's BPE is {_ENCODER_FILE} and {_MERGES_FILE}")
        return cls((folder / _ENCODER_FILE).read_bytes(), (folder / _MERGES_FILE).read_bytes())


def _read_vocab(encoder: bytes) -> dict[str, int]:
    """Piece -> id, checked: ids 0 to n - 1, every byte, the marker."""
    try:
        vocab = json.loads(encoder.decode("utf-8"))
    except ValueError as error:
        raise DataError(f"{_ENCODER_FILE}: not JSON ({error}); fetch the file again") from error
    if not isinstance(vocab, dict) or set(vocab.values()) != set(range(len(vocab))):
        raise DataError(f"{_ENCODER_FILE}: must map pieces to the ids 0 to n - 1, each once")
    missing = [byte for byte in pre_tokenizers.ByteLevel.alphabet() if byte not in vocab]
    if missing or END_OF_TEXT not in vocab:
        what = f"{len(missing)} of {LEAST_PIECES} bytes have no piece" if missing else f"there is no {END_OF_TEXT}"
        raise DataError(f"{_ENCODER_FILE}: {what} among its {len(vocab)} pieces; it is not a byte-level BPE")
    return vocab


def _read_merges(merges: bytes) -> list[tuple[str, str]]:
    """The pairs of `vocab.bpe`; its first line names a version."""
    pairs = []
    for number, line in enumerate(merges.decode("utf-8").split("\n"), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise DataError(f"{_MERGES_FILE}: line {number} is not two pieces and a space between them")
        pairs.append((pair[0], pair[1]))
    return pairs
