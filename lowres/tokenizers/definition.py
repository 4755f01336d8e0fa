"""A `tokenizer.json` of the library `tokenizers`, read as JSON alone: its pieces, and which token serves as what.

Nothing is run and nothing is loaded here, so a plan may ask. Other files of a Hugging Face tokenizer (`vocab.txt`,
`merges.txt`, SentencePiece models, Python) are never read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lowres.errors import DataError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json")
MODELS = ("Unigram", "BPE", "WordPiece", "WordLevel")
_CHANCE = ("dropout", "alpha", "nbest_size")  # settings by which a model cuts a text anew at every call
_HIDDEN = "\0"  # no normalised text holds it, and byte-level models spell it otherwise
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_BYTE_LETTERS = frozenset(map(chr, (*_PRINTABLE, *range(256, 256 + 256 - len(_PRINTABLE)))))
_BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


@dataclass(frozen=True)
class Roles:
    """The tokens that serve: bos starts a document, pad fills batches, unk stands for what has no piece.

    pad None: an id of its own behind all others. unk None: nothing is unknown.
    """

    bos: str
    pad: str | None
    unk: str | None


@dataclass(frozen=True)
class Named:
    """What the user says of the roles; None: the files say it. new_pad: pad is an id of its own behind all others."""

    bos: str | None = None
    pad: str | None = None
    unk: str | None = None
    new_pad: bool = False


class Definition:
    """The content of a `tokenizer.json`. where: what errors call it. DataError where it is no such file.

    pieces: those of its model, with their ids; ids: and those of the tokens added to them. unk: what its model writes
    for what it does not know; None where it writes nothing, or knows everything. opening: the special token that its
    post-processor puts before a text. padding: the token of its own padding.
    """

    def __init__(self, content: bytes, where: str = TOKENIZER_FILE):
        self.where = where
        try:
            self.json: dict[str, Any] = json.loads(content)
            self.model: dict[str, Any] = self.json["model"]
            self.kind = self.model.get("type") or _kind_of(self.model)
            vocab = self.model["vocab"]
            pairs = ((pair[0], k) for k, pair in enumerate(vocab)) if isinstance(vocab, list) else vocab.items()
            self.added: list[dict[str, Any]] = self.json.get("added_tokens") or []
            self.pieces = {str(piece): int(place) for piece, place in pairs}
            self.ids = self.pieces | {str(token["content"]): int(token["id"]) for token in self.added}
            self.padding: str | None = (self.json.get("padding") or {}).get("pad_token")
            self.unk, self.opening = self._unk(), self._opening()
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"{where}: no tokenizer of Hugging Face's ({said}); name its {TOKENIZER_FILE}") from error
        if self.kind not in MODELS:
            raise DataError(f"{where}: model.type is {self.kind!r}; it must be {', '.join(MODELS)}")

    @cached_property
    def special(self) -> list[str]:
        """The tokens that it calls special, in the order of their ids."""
        return [str(token["content"]) for token in self.added if token.get("special")]

    def _unk(self) -> str | None:
        if self.knows_every_byte:
            return None
        if self.kind == "Unigram":
            place = self.model.get("unk_id")
            return next((piece for piece, k in self.pieces.items() if k == place), None)
        token = self.model.get("unk_token")
        return token if token in self.pieces else None

    @cached_property
    def knows_every_byte(self) -> bool:
        """Whether any text has pieces: there is one of every byte, and the model goes down to bytes."""
        if self.kind not in ("Unigram", "BPE"):
            return False
        if self.model.get("byte_fallback"):
            return self.ids.keys() >= _BYTE_PIECES
        if not any(
            step.get("type") == "ByteLevel" for part in ("normalizer", "pre_tokenizer") for step in self._steps(part)
        ):
            return False
        before, behind = self.model.get("continuing_subword_prefix") or "", self.model.get("end_of_word_suffix") or ""
        spelt = ((first, last) for first in {"", before} for last in {"", behind})
        return all(self.ids.keys() >= {first + letter + last for letter in _BYTE_LETTERS} for first, last in spelt)

    def _opening(self) -> str | None:
        for step in self._steps("post_processor"):
            if isinstance(step.get("cls"), list):
                return str(step["cls"][0])
            for piece in step.get("single") or ():
                if "Sequence" in piece:
                    break
                return str(piece["SpecialToken"]["id"])
        return None

    def _steps(self, part: str) -> list[dict[str, Any]]:
        """A normaliser, pre-tokeniser or post-processor, or the members of a sequence of them."""
        step = self.json.get(part) or {}
        members = next((step[name] for name in ("pretokenizers", "normalizers", "processors") if name in step), None)
        return [step] if members is None else list(members)

    def guarded(self, roles: Roles) -> str:
        """The definition as JSON, with special tokens that no text is turned into; ids are the same.

        Most models look a piece up by its letters: `<s>` in a text would find the piece `<s>`, so special tokens get
        names that no text holds. Length limits, padding, chance and what is put around a text go.
        """
        hidden = {*self.special, roles.bos, roles.pad, roles.unk} & self.ids.keys()
        model = {key: value for key, value in self.model.items() if key not in _CHANCE}
        if isinstance(model["vocab"], list):
            model["vocab"] = [[guard(p) if p in hidden else p, score] for p, score in model["vocab"]]
        else:
            model["vocab"] = {guard(p) if p in hidden else p: place for p, place in model["vocab"].items()}
        if roles.unk is not None and self.kind != "Unigram":
            model["unk_token"] = roles.unk
        if roles.unk is not None and self.kind == "Unigram":
            model["unk_id"] = self.ids[roles.unk]
        if model.get("unk_token") in hidden:
            model["unk_token"] = guard(model["unk_token"])
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if not _touches(merge, hidden)]
        added = [
            token | {"content": guard(token["content"]), "special": True, "normalized": False}
            if token["content"] in hidden
            else token
            for token in self.added
        ]
        whole = {"added_tokens": added, "model": model, "post_processor": None, "truncation": None, "padding": None}
        return json.dumps(self.json | whole, ensure_ascii=False)


def guard(token: str) -> str:
    """The name of a special token in a guarded definition."""
    return _HIDDEN + token


def _kind_of(model: dict[str, Any]) -> str:
    """The type of a model that does not say it, as those of older files."""
    if isinstance(model["vocab"], list):
        return "Unigram"
    if "merges" in model:
        return "BPE"
    return "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"


def _touches(merge: str | list[str], hidden: set[str]) -> bool:
    """Whether a merge makes or takes a special token."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return not hidden.isdisjoint((left, right, left + right))


def files_at(path: Path) -> tuple[Path, list[Path]]:
    """The `tokenizer.json` at a path, a file or a folder, and the files beside it that name its special tokens.

    A file by itself has none beside it. Raises DataError where there is no tokenizer.json.
    """
    if path.is_file():
        return path, []
    found = path / TOKENIZER_FILE
    if not found.is_file():
        raise DataError(
            f"{path}: no {TOKENIZER_FILE} there; of Hugging Face's tokenizers that file alone is read "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER) of transformers writes it)"
        )
    return found, [path / name for name in CONFIG_FILES if (path / name).is_file()]


def special_names(files: list[Path], named: Named = Named()) -> dict[str, str]:
    """`bos_token`, `pad_token` and their like as the files say them, but for those that the user named.

    Raises DataError where two files say different things.
    """
    said_by_user = {"bos_token": named.bos, "cls_token": named.bos, "pad_token": named.pad or named.new_pad}
    names: dict[str, str] = {}
    for path in files:
        try:
            content = json.loads(path.read_bytes())
            said = {key: content.get(key) for key, by_user in said_by_user.items() if not by_user}
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path}: not a JSON object ({error}); copy it again") from error
        for key, value in said.items():
            token = value.get("content") if isinstance(value, dict) else value
            if token is None:
                continue
            if names.setdefault(key, str(token)) != token:
                raise DataError(
                    f"{path}: {key} is {token!r}, elsewhere in the folder {names[key]!r}; say which: "
                    f'tokenizer.{"pad" if key == "pad_token" else "bos"} = "..."'
                )
    return names


def find_roles(definition: Definition, names: Mapping[str, str], named: Named) -> Roles:
    """Which token serves as what: what the user named, else what the files say.

    bos: `bos_token`, else `cls_token`, else what the post-processor puts before a text. pad: `pad_token`, else that of
    the file's padding. unk: what the model writes. Raises DataError, in one line, where none fits.
    """
    bos = named.bos or names.get("bos_token") or names.get("cls_token") or definition.opening
    pad = None if named.new_pad else named.pad or names.get("pad_token") or definition.padding
    unk = named.unk or definition.unk
    _check_unk(definition, named.unk)
    missing = [
        role
        for role, lacks in {
            "bos": bos is None,
            "pad": pad is None and not named.new_pad,
            "unk": unk is None and not definition.knows_every_byte,
        }.items()
        if lacks
    ]
    if missing or bos is None:
        mends = ", ".join(f'tokenizer.{role} = "..."' for role in missing)
        new = " (or tokenizer.new_pad = true, an id of its own)" if "pad" in missing else ""
        shown = ", ".join(definition.special[:8]) or "none"
        raise DataError(
            f"{definition.where}: nothing in its files says which token is {' and which is '.join(missing)}; say it: "
            f"{mends}{new}; its special tokens: {shown}"
        )
    for role, token in {"bos": bos, "pad": pad, "unk": unk}.items():
        if token is not None and token not in (definition.pieces if role == "unk" else definition.ids):
            raise DataError(
                f'{definition.where}: {role} is {token!r}, which it does not have; say tokenizer.{role} = "..."'
            )
    if bos in (pad, unk) or (pad is not None and pad == unk):
        raise DataError(
            f"{definition.where}: bos is {bos!r}, pad is {pad!r}, unk is {unk!r}; they must be three tokens: name "
            "others (tokenizer.bos, .pad, .unk) or set tokenizer.new_pad = true"
        )
    return Roles(bos, pad, unk)


def _check_unk(definition: Definition, named: str | None) -> None:
    """Refuses an unk that its model would never write."""
    if named is None or named == definition.unk:
        return
    if definition.knows_every_byte:
        raise DataError(f"{definition.where}: tokenizer.unk is {named!r}, and nothing is unknown to it; leave unk out")
    if definition.unk is not None:
        raise DataError(
            f"{definition.where}: tokenizer.unk is {named!r}, and its model writes {definition.unk!r}; leave unk out"
        )
