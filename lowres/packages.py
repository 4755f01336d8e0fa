"""Packages: a model in one folder that is passed on, with a checksum of every file.

FOLDER/
  README.md      model card, in Hugging Face's form; people may edit it, so its checksum is written and not asked for
  manifest.json  Package: kind, family, origin, sha256 of every file
  ...            what the family's export wrote
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.fingerprint import file_sha256
from lowres.store import disk_faults

FORMAT = "lowres-package"
CARD, MANIFEST = "README.md", "manifest.json"
Kind = Literal["classifier", "language-model"]


class Package(BaseModel):
    """`manifest.json` of a package. origin: what it was made from: ids of artifacts, run, method, settings."""

    model_config = ConfigDict(frozen=True)

    format: Literal["lowres-package"] = FORMAT
    version: Literal[1] = 1
    kind: Kind
    family: str
    files: dict[str, str]
    origin: dict[str, Any] = {}
    lowres: str


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place once the block ends well; else nothing is left.

    Raises DataError where something stands at `target`.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: exists already; name another folder, or remove it first")
    building = target.with_name(f".{target.name}.{os.getpid()}")
    with disk_faults(str(target)):
        building.mkdir(parents=True)
        try:
            yield building
            if target.is_dir():
                target.rmdir()
            building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def write_manifest(folder: Path, kind: Kind, family: str, origin: dict[str, Any]) -> Package:
    """Hashes all that stands in `folder` and writes its manifest."""
    from lowres import __version__

    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    package = Package(kind=kind, family=family, files=files, origin=origin, lowres=__version__)
    write_json(folder / MANIFEST, package.model_dump(mode="json"))
    return package


def is_package(folder: Path) -> bool:
    """Whether `folder` says that it is a package, whole or damaged."""
    try:
        return read_json(folder / MANIFEST).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False


def open_package(folder: Path) -> Package:
    """The manifest of a package whose files are all there and unchanged. Raises DataError naming the first that is not.

    Files that the manifest does not name are never read.
    """
    path = folder / MANIFEST
    try:
        package = Package.model_validate(read_json(path))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{path}: not the manifest of a package of this version of lowres; export it again") from error
    for name, sha256 in package.files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path}: names {name!r}, which is outside the folder; do not use this package")
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: is missing; copy the package again")
        if name != CARD and file_sha256(folder / name) != sha256:
            raise DataError(f"{folder / name}: its sha256 is not the one in {MANIFEST}; copy the package again")
    return package
