"""`lowres gptj convert` and `lowres gptj info`: any layout to transformers' safetensors, and what a layout holds."""

import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lowres.artifacts import read_json, write_json
from lowres.errors import DataError
from lowres.families.gptj.checkpoints.configuration import END_OF_TEXT, hf_config
from lowres.families.gptj.checkpoints.names import slots
from lowres.families.gptj.checkpoints.opening import open_checkpoint
from lowres.families.gptj.checkpoints.source import Checkpoint
from lowres.families.gptj.checkpoints.writing import Dtype, Planned, write_weights

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "spiece.model",
)  # fmt: skip
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def convert(
    source: str, target: Path, dtype: Dtype | None = None, shard_size: str = "5GB", config: Path | None = None
) -> list[str]:
    """Writes the GPT-J at `source` as a new folder of transformers'. dtype None: the source's; of 8 bits, float32.

    Returns lines to print. Raises DataError, one line a fault, with nothing left behind.
    """
    limit = parsed_size(shard_size)
    if target.exists():
        raise DataError(f"{target}: there already; name a new folder")
    found = open_checkpoint(source, config)
    raise_faults(found.faults)
    chosen = dtype or stored_dtype(found)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        planned = [Planned(slot.name, slot.shape) for slot in slots(found.config)]
        total = write_weights(unfinished, planned, chosen, found.tensors.tensor, limit)
        write_json(unfinished / "config.json", _config_json(found) | {"dtype": chosen})
        _copy_tokenizer(found, unfinished)
        unfinished.chmod(0o777 & ~_umask())
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    files = len(list(target.glob("*.safetensors")))
    return [f"{target}   {total / 1e6:,.1f} MB of {chosen} in {files} file{'s' * (files > 1)}"]


def info(source: str, config: Path | None = None) -> tuple[list[str], tuple[str, ...]]:
    """(lines, faults): layout, size, parameters, types, vocabulary; and what is missing or wrong."""
    found = open_checkpoint(source, config)
    facts, sizes = found.tensors.facts, found.config
    numbers = _numbers(found)
    parameters = numbers.total()
    types = ", ".join(f"{dtype} {100 * n / max(parameters, 1):.0f} %" for dtype, n in numbers.most_common())
    largest = max(facts, key=lambda name: math.prod(facts[name].shape), default="none")
    lines = [
        f"layout      {found.tensors.kind}; {len(found.layout.files)} files in {found.layout.root}",
        f"model       {sizes.describe()}, {sizes.n_head} heads of {sizes.head_dim}, {sizes.rotary_dim} of them rotary,"
        f" context {sizes.n_ctx}",
        f"parameters  {parameters:,} in {len(facts)} tensors; largest: {largest}",
        f"types       {types}",
        f"vocabulary  {sizes.vocab_size:,} rows",
        f"in memory   {4 * parameters / 1e6:,.1f} MB of float32, {2 * parameters / 1e6:,.1f} MB of bfloat16",
    ]
    return lines, found.faults


def raise_faults(faults: Sequence[str]) -> None:
    """Raises DataError with a line a fault, where there is any."""
    if faults:
        raise DataError("\n".join(faults))


def stored_dtype(found: Checkpoint) -> Dtype:
    """The type of most numbers of a checkpoint; float32 where they are no floats of 16 or 32 bits."""
    most = _numbers(found).most_common(1)[0][0]
    return "bfloat16" if most == "bfloat16" else "float16" if most == "float16" else "float32"


def _numbers(found: Checkpoint) -> Counter[str]:
    """How many numbers of each type."""
    counted: Counter[str] = Counter()
    for fact in found.tensors.facts.values():
        counted[fact.dtype] += math.prod(fact.shape)
    return counted


def parsed_size(words: str) -> int:
    """Bytes of "500MB", "5GB". Raises DataError on anything else."""
    text = words.strip().upper()
    unit = next((unit for unit in ("KB", "MB", "GB", "B") if text.endswith(unit)), "")
    number = text.removesuffix(unit).strip()
    if not unit or not number.replace(".", "", 1).isdigit() or float(number) <= 0:
        raise DataError(f"shard size is {words!r}; write a number and KB, MB or GB, e.g. 5GB")
    return int(float(number) * _UNITS[unit])


def _config_json(found: Checkpoint) -> dict[str, object]:
    """Sizes, and the ids that the source's config.json names; of mesh-transformer-jax those of GPT-2."""
    default = END_OF_TEXT if found.config.vocab_size > END_OF_TEXT else None
    made = hf_config(found.config, default, None)  # type: ignore[arg-type]
    path = Path(found.layout.root) / (found.layout.config or "config.json")
    theirs = read_json(path) if path.is_file() else {}
    ids = {name: theirs[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in theirs}
    return made | ids


def _copy_tokenizer(found: Checkpoint, target: Path) -> None:
    root = Path(found.layout.root)
    for name in TOKENIZER_FILES:
        if (root / name).is_file():
            shutil.copyfile(root / name, target / name)
    if (root / "tokenizer").is_dir():
        shutil.copytree(root / "tokenizer", target / "tokenizer")


def _umask() -> int:
    """The process's, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
