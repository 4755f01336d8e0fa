"""Tokenizers of the library `tokenizers` (Hugging Face's `tokenizer.json`): ids, pieces and normalisation are its own.

What they do to a text before it is cut (lower case, accents, white space) is theirs too, so decode gives back what they
leave of it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.tokenizers.definition import TOKENIZER_FILE, Definition, Roles, guard

_ABOUT_FILE = "lowres_tokenizer.json"


class HfTokenizer:
    """See lowres.tokenizers.base.Tokenizer. A special token that stands in a text is plain text.

    content: the bytes of a `tokenizer.json`. vocab_size is the highest id and one; ids between may be free. Raises
    DataError where the library cannot read it, or would give other ids.
    """

    def __init__(self, content: bytes, roles: Roles):
        self.content, self.roles = content, roles
        definition = Definition(content)
        ids = definition.ids
        self.kind: str = definition.kind
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_str(definition.guarded(roles))
        except Exception as error:  # the library raises plain Exception
            said = " ".join(str(error).split())
            raise DataError(f"{TOKENIZER_FILE}: tokenizers cannot read it ({said}); write it again") from error
        self._tokenizer.encode_special_tokens = True
        hidden = {*definition.special, roles.bos, roles.pad, roles.unk} & ids.keys()
        moved = [t for t in ids if self._tokenizer.token_to_id(guard(t) if t in hidden else t) != ids[t]]
        if moved:
            raise DataError(
                f"{TOKENIZER_FILE}: the id of {moved[0]!r} is not the library's; its ids do not follow each other"
            )
        self.bos_id: int = ids[roles.bos]
        self.unk_id: int | None = None if roles.unk is None else ids[roles.unk]
        self.pad_id: int = 1 + max(ids.values()) if roles.pad is None else ids[roles.pad]
        self.vocab_size: int = 1 + max(self.pad_id, *ids.values())
        self._silent = {ids[token] for token in hidden} - {self.unk_id} | {self.pad_id}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without any special token around it. RAYON_NUM_THREADS bounds the threads."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids as the library joins them; special tokens leave nothing, unk leaves U+FFFD."""
        text = self._tokenizer.decode([int(i) for i in ids if i not in self._silent], skip_special_tokens=False)
        return text if self.roles.unk is None else text.replace(guard(self.roles.unk), "\ufffd")

    def unknown_bytes(self, text: str) -> int:
        """UTF-8 bytes of `text` that its unks stand for."""
        if self.unk_id is None:
            return 0
        found = self._tokenizer.encode(text, add_special_tokens=False)
        hidden: set[int] = set()
        for token, (start, end) in zip(found.ids, found.offsets, strict=True):
            if token == self.unk_id:
                hidden.update(range(start, end))
        return sum(len(text[place].encode("utf-8")) for place in hidden)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `lowres_tokenizer.json` says."""
        sha256 = hashlib.sha256(self.content).hexdigest()
        return {"kind": "hf", "roles": asdict(self.roles), "sha256": sha256, "vocab_size": self.vocab_size}

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` as it came, and `lowres_tokenizer.json`."""
        (folder / TOKENIZER_FILE).write_bytes(self.content)
        write_json(folder / _ABOUT_FILE, self.about)

    @classmethod
    def load(cls, folder: Path) -> "HfTokenizer":
        """The tokenizer that was saved in `folder`. Raises DataError where a file is missing, damaged or another."""
        try:
            about = read_json(folder / _ABOUT_FILE)
            roles, content = Roles(**about["roles"]), (folder / TOKENIZER_FILE).read_bytes()
        except (OSError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: not a whole tokenizer of Hugging Face's ({error}); copy it again") from error
        if hashlib.sha256(content).hexdigest() != about.get("sha256"):
            raise DataError(
                f"{folder / TOKENIZER_FILE}: its bytes are not those of {_ABOUT_FILE}; copy the folder again"
            )
        return cls(content, roles)
