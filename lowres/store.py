"""The store: artifacts on disk by id, whole or absent.

STORE/
  artifacts/ab/abcd.../   manifest.json and what the stage wrote
  building/<id>.<pid>/    being built; renamed into place with the manifest last
  work/<id>/              a stage's durable scratch: training checkpoints, seconds spent so far
  locks/<id>              a lock file each (released by the system when its process dies)
  files/<sha256>          raw files that were downloaded; beside them <checksum>.partial (and its .etag) goes on at the
                          next download, <checksum>.wrong was refused
  compiled/<processor>/   programs that JAX compiled, at most 1 GiB; may be deleted
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lowres.errors import StoreError


def default_store() -> Path:
    """`LOWRES_HOME`, else the user's cache folder for lowres."""
    home = os.environ.get("LOWRES_HOME")
    if home:
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lowres"))


@contextmanager
def disk_faults(what: str) -> Iterator[None]:
    """Turns a full disk or a missing permission into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(f"{what}: the disk is full; free some space or name another store with --store") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(f"{what}: may not be written; name a folder of your own with --store") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StoreError(f"{what}: a file is in the way; name another folder with --store") from error
        raise


class Store:
    """A folder of artifacts. Any number of processes may use one at a time."""

    def __init__(self, root: Path):
        self.root = root.expanduser().absolute()
        with disk_faults(str(self.root)):
            for name in ("artifacts", "building", "work", "locks", "files"):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    def path(self, artifact: str) -> Path:
        """Where an artifact stands or will stand."""
        return self.root / "artifacts" / artifact[:2] / artifact

    def has(self, artifact: str) -> bool:
        """Whether the artifact stands, whole."""
        return (self.path(artifact) / "manifest.json").is_file()

    def work(self, artifact: str) -> Path:
        """The durable scratch folder of a node."""
        folder = self.root / "work" / artifact
        with disk_faults(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def file(self, sha256: str) -> Path:
        """Where a downloaded raw file stands or will stand."""
        return self.root / "files" / sha256

    def files(self) -> list[Path]:
        """The raw files that were downloaded whole."""
        return sorted(path for path in (self.root / "files").iterdir() if not path.suffix)

    def partial(self, checksum: str) -> Path:
        """Where a download grows."""
        return self.root / "files" / f"{checksum}.partial"

    @contextmanager
    def locked(self, artifact: str, timeout_s: float = -1) -> Iterator[bool]:
        """Holds the lock of an id; yields False where another process still holds it after `timeout_s`."""
        lock = FileLock(self.root / "locks" / artifact)
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def start_building(self, artifact: str) -> Path:
        """An empty folder to build in; folders that dead processes left of this id are removed."""
        with disk_faults(str(self.root)):
            for left in (self.root / "building").glob(f"{artifact}.*"):
                shutil.rmtree(left, ignore_errors=True)
            folder = self.root / "building" / f"{artifact}.{os.getpid()}"
            folder.mkdir()
        return folder

    def put(self, artifact: str, folder: Path) -> Path:
        """Renames a built folder (manifest inside) into place; a lost race discards this copy. Frees the scratch."""
        final = self.path(artifact)
        with disk_faults(str(final)):
            final.parent.mkdir(exist_ok=True)
            try:
                folder.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.root / "work" / artifact, ignore_errors=True)
        return final

    def discard(self, folder: Path) -> None:
        """Removes a half-built folder."""
        shutil.rmtree(folder, ignore_errors=True)

    def remove(self, artifact: str) -> None:
        """Removes an artifact: its manifest first, so that it is never half there."""
        folder = self.path(artifact)
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
