"""Canonical JSON and its SHA-256: the names of artifacts, cells and files; and the settings that are hashed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def canonical_json(value: Any) -> str:
    """`value` as JSON that depends on its content alone: sorted keys, no spaces, UTF-8 kept, no NaN.

    Raises ValueError on NaN and infinities, TypeError on what JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def file_digest(path: Path, algorithm: str) -> str:
    """The digest of a file's bytes in hexadecimal digits. algorithm: "sha256" or "sha1"."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return file_digest(path, "sha256")


class Spec(BaseModel):
    """The hashed settings of a stage, or a block of a recipe. Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def hashed(self) -> dict[str, Any]:
        """The fields that count, as JSON values: all but those that equal their `neutral` value."""
        kept = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            extra = info.json_schema_extra
            if isinstance(extra, dict) and "neutral" in extra and value == extra["neutral"]:
                continue
            kept[name] = _hashed(value, self.model_dump(mode="json", include={name})[name])
        return kept

    def raw_files(self) -> tuple[str, ...]:
        """SHA-256 of the raw files that a stage with this spec reads, beside its input artifacts."""
        return ()


def _hashed(value: Any, dumped: Any) -> Any:
    """The JSON of a field's value, with `hashed` applied to every Spec in it, however deep."""
    if isinstance(value, Spec):
        return value.hashed()
    if isinstance(value, list | tuple):
        return [_hashed(item, json_item) for item, json_item in zip(value, dumped, strict=True)]
    if isinstance(value, dict):
        return {key: _hashed(item, dumped[str(key)]) for key, item in value.items()}
    return dumped


def added_later(default: Any, *, neutral: Any, **options: Any) -> Any:
    """A spec field added after a release. `neutral` is the value that reproduces the behaviour before the field was
    there: where the field equals it, it is left out of the hash, so older artifacts keep their names.
    """
    return Field(default, json_schema_extra={"neutral": neutral}, **options)
