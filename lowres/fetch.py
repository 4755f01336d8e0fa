"""Finding a card's bytes: in the store, beside the card, in a mirror, then by URL; always checked by checksum."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lowres.cards import Card, CardFile
from lowres.download import Patience, download
from lowres.errors import DataError
from lowres.fingerprint import file_digest, file_sha256
from lowres.store import Store, disk_faults


def all_mirrors(given: Iterable[Path] | None) -> list[Path]:
    """The folders that were given, and those of `LOWRES_MIRROR`, separated as in PATH."""
    environment = os.environ.get("LOWRES_MIRROR", "").split(os.pathsep)
    return [*(given or ()), *(Path(part) for part in environment if part)]


@dataclass(frozen=True)
class Finder:
    """Where files may come from. mirrors: folders searched by checksum. offline: never a URL.

    on_progress: told a file's name, bytes so far, bytes in all. patience: with servers that fail.
    """

    store: Store
    mirrors: Sequence[Path] = ()
    offline: bool = False
    on_progress: Callable[[str, int, int], None] = lambda name, done, total: None
    patience: Patience = Patience()

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
        stored = self._stored(file)
        if stored is not None:
            return stored
        if file.path is not None:
            return self._beside(card_path, file)
        mirrored = _first_right(self._by_size.get(file.bytes, ()), file)
        if mirrored is not None:
            return mirrored
        kind, digits = file.checksum
        if file.url is None:
            raise DataError(
                f"{card.name} ({file.role}): no URL serves these bytes ({file.derived}); put the file with {kind} "
                f"{digits} into a folder and name it with --mirror"
            )
        if self.offline:
            raise DataError(
                f"{card.name} ({file.role}): not in the store nor in a mirror, and --offline forbids {file.url}; run "
                f"once without --offline, or name a folder that holds {kind} {digits} with --mirror"
            )
        return file.url

    def _beside(self, card_path: Path, file: CardFile) -> Path:
        path = card_path.parent / str(file.path)
        if not path.is_file():
            raise DataError(f"{card_path}: {path} is not there; put it back, or run `lowres task add` again")
        kind, digits = file.checksum
        found = file_digest(path, kind)
        if found != digits:
            raise DataError(
                f"{card_path}: {path} has {kind} {found[:12]}..., the card says {digits[:12]}...; restore "
                "the file, or pin the new one in the card"
            )
        return path

    def _stored(self, file: CardFile) -> Path | None:
        """The file in the store. One without a sha256 yet is found by size and sha1."""
        if file.sha256 is not None:
            path = self.store.file(file.sha256)
            return path if path.is_file() else None
        return _first_right((path for path in self.store.files() if path.stat().st_size == file.bytes), file)

    def _download(self, card: Card, file: CardFile, url: str) -> Path:
        """Downloads a file that no other process is downloading; where one is, waits for it and takes what it got."""
        while True:
            with self.store.locked(f"file-{file.checksum[1]}", timeout_s=0.5) as held:
                if held:
                    return self._stored(file) or self._fetch(card, file, url)
            self.patience.check_stop()

    def _fetch(self, card: Card, file: CardFile, url: str) -> Path:
        """Downloads into a partial file, which stays when that fails, checks it and renames it.

        Bytes of several answers may be of several versions of the file, so where they are wrong it is fetched once more
        from the start. Wrong bytes of one answer are refused and set aside: the next download starts over.
        """
        kind, digits = file.checksum
        name, partial = f"{card.name} ({file.role})", self.store.partial(digits)
        wrong = partial.with_suffix(".wrong")
        with disk_faults(str(partial)):
            for _ in range(2):
                at_once = self._download_to(partial, name, file, url)
                if _is_right(partial, file):
                    return self._keep(partial, file)
                size, found = partial.stat().st_size, file_digest(partial, kind)
                partial.replace(wrong)
                if at_once:
                    break
        gave = f"more than {file.bytes:,} bytes" if size > file.bytes else f"{size:,} bytes with {kind} {found[:12]}..."
        raise DataError(
            f"{name}: {url} gave {gave}, the card says {file.bytes:,} bytes and {digits[:12]}...; refused and set "
            f"aside as {wrong}, the next download starts over; pin the card again if it is wrong, else name a copy "
            "with --mirror"
        )

    def _keep(self, partial: Path, file: CardFile) -> Path:
        final = self.store.file(file.sha256 or file_sha256(partial))
        partial.replace(final)
        for suffix in (".etag", ".wrong"):
            partial.with_suffix(suffix).unlink(missing_ok=True)
        return final

    def _download_to(self, partial: Path, name: str, file: CardFile, url: str) -> bool:
        """As `download`; what could not be had is said with what is kept of it."""
        try:
            return download(
                url, partial, file.bytes, self.patience, lambda done: self.on_progress(name, done, file.bytes)
            )
        except DataError as error:
            have = partial.stat().st_size
            if not have:
                partial.unlink()
            kept = f"{have:,} of {file.bytes:,} bytes are kept, run it again to go on; or " if have else ""
            raise DataError(f"{name}: {error}; {kept}name a copy with --mirror") from error


def _is_right(path: Path, file: CardFile) -> bool:
    kind, digits = file.checksum
    return path.stat().st_size == file.bytes and file_digest(path, kind) == digits


def _first_right(paths: Iterable[Path], file: CardFile) -> Path | None:
    return next((path for path in paths if _is_right(path, file)), None)
