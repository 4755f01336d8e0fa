"""Finding a card's bytes: in the store, beside the card, in a mirror, then by URL; always checked by sha256."""

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lowres import __version__
from lowres.cards import Card, CardFile
from lowres.errors import DataError
from lowres.fingerprint import file_sha256
from lowres.store import Store, disk_faults

_CHUNK = 1 << 20
_TIMEOUT_S = 60
USER_AGENT = f"lowres/{__version__} (research corpus builder; python urllib)"


def mirrors_of_environment() -> list[Path]:
    """The folders of `LOWRES_MIRROR`, separated as in PATH."""
    return [Path(part) for part in os.environ.get("LOWRES_MIRROR", "").split(os.pathsep) if part]


@dataclass(frozen=True)
class Finder:
    """Where files may come from. mirrors: folders searched by checksum. offline: never a URL."""

    store: Store
    mirrors: Sequence[Path] = ()
    offline: bool = False
    on_progress: Callable[[str, int, int], None] = lambda name, done, total: None

    def __post_init__(self) -> None:
        for mirror in self.mirrors:
            if not mirror.is_dir():
                raise DataError(f"--mirror {mirror}: no such folder; name one that holds the files (found by checksum)")

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        """Files of all mirrors by size: only those of the right size are hashed."""
        sizes: dict[int, list[Path]] = {}
        for mirror in self.mirrors:
            for path in sorted(mirror.rglob("*")):
                if path.is_file():
                    sizes.setdefault(path.stat().st_size, []).append(path)
        return sizes

    def find(self, card: Card, card_path: Path, file: CardFile) -> Path:
        """The file's path on this machine, downloaded if it must be.

        Raises DataError, saying the ways to get it, where it cannot be had.
        """
        place = self.locate(card, card_path, file)
        return place if isinstance(place, Path) else self._download(card, file, place)

    def locate(self, card: Card, card_path: Path, file: CardFile) -> Path | str:
        """Where the file is: a path on this machine, or the URL it would be fetched from. Nothing is downloaded."""
        stored = self.store.file(file.sha256)
        if stored.is_file():
            return stored
        if file.path is not None:
            return self._beside(card_path, file)
        for path in self._by_size.get(file.bytes, ()):
            if file_sha256(path) == file.sha256:
                return path
        if file.url is None:
            raise DataError(
                f"{card.name} ({file.role}): no URL serves these bytes ({file.derived}); put the file with sha256 "
                f"{file.sha256} into a folder and name it with --mirror"
            )
        if self.offline:
            raise DataError(
                f"{card.name} ({file.role}): not in the store nor in a mirror, and --offline forbids {file.url}; run "
                f"once without --offline, or name a folder that holds sha256 {file.sha256} with --mirror"
            )
        return file.url

    def _beside(self, card_path: Path, file: CardFile) -> Path:
        path = card_path.parent / str(file.path)
        if not path.is_file():
            raise DataError(f"{card_path}: {path} is not there; put it back, or run `lowres task add` again")
        found = file_sha256(path)
        if found != file.sha256:
            raise DataError(
                f"{card_path}: {path} has sha256 {found[:12]}..., the card says {file.sha256[:12]}...; restore "
                "the file, or pin the new one in the card"
            )
        return path

    def _download(self, card: Card, file: CardFile, url: str) -> Path:
        """Fetches to a partial file, checks, renames."""
        final = self.store.file(file.sha256)
        partial = final.with_suffix(f".{os.getpid()}.partial")
        digest, done = hashlib.sha256(), 0
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
        try:
            with disk_faults(str(partial)), urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                with partial.open("wb") as out:
                    while chunk := answer.read(_CHUNK):
                        out.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
                        self.on_progress(card.name, done, file.bytes)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            partial.unlink(missing_ok=True)
            raise DataError(
                f"{card.name} ({file.role}): {url} could not be read ({error}); name a copy with --mirror"
            ) from error
        if digest.hexdigest() != file.sha256:
            partial.unlink(missing_ok=True)
            raise DataError(
                f"{card.name} ({file.role}): {url} gave {done} bytes with sha256 {digest.hexdigest()[:12]}..., the "
                f"card says {file.bytes} bytes and {file.sha256[:12]}...; nothing was kept"
            )
        shutil.move(partial, final)
        return final
