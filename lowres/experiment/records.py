"""What a run leaves in its folder: immutable JSON, one file an attempt at a cell, one a language model,
task and corpus. Tables and the report derive from these files, so merging two machines' results is copying files.

runs/NAME/
  recipe.toml               the recipe as resolved: overrides applied
  plan.json                 PlanRecord: the cells the recipe asks for, written before the first one runs
  cells/<cell id>/<n>.json  CellRecord, one an attempt
  models/<method>.json      LanguageModelRecord
  tasks/<task id>.json      TaskRecord
  corpora/<corpus id>.json  CorpusRecord
  predictions/<id>/         copy of the predictions artifact of every cell that ended ok
  classifiers/<cell id>/    the classifiers that are kept (run.keep)
  logs/<worker>.log         what the workers' libraries printed
  machine.json              MachineRecord of the last run
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lowres.artifacts import Cost
from lowres.cards import TaskKind

Status = Literal["ok", "oom", "timeout", "nan", "error"]


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True)


class CellRecord(Record):
    """One attempt at one (method, task, train size, subset, seed)."""

    cell: str
    attempt: int
    method: str
    family: str
    task: str
    train_size: int | Literal["full"]
    labels_used: int | None
    """Training labels; equals train_size, or the size of the whole train split."""
    subset: int
    seed: int
    status: Status
    error: str | None = None
    scores: dict[str, dict[str, float]] = {}
    """split (dev, test) -> score name -> value. Names: lowres.metrics.classification, or .label_sets."""
    cost: Cost = Cost()
    """Of this cell's own stages: classifier and prediction."""
    tuning: Cost | None = None
    """Of fitting the language model to the task's text; cells that share a tuned model share this cost."""
    language_model: str | None = None
    """Id of the LM's record, None for a family without one."""
    parameters: int | None = None
    prompt: str | None = None
    """Of a prompted classifier: the prompt that was chosen."""
    prompts: dict[str, float] = {}
    """Likewise: every prompt that was tried -> dev macro-F1."""
    artifacts: dict[str, str] = {}
    """role (classifier, predictions, scores, subset) -> artifact id."""
    settings: dict[str, Any] = {}
    """The method block as resolved."""
    finished: str = ""


class PlannedCell(Record):
    """A cell the recipe asks for, whether or not it was ever tried."""

    cell: str
    method: str
    family: str
    task: str
    train_size: int | Literal["full"]
    subset: int
    seed: int


class PlanRecord(Record):
    """All cells of the recipe, in its order: methods, tasks and train sizes are reported in the order they stand here.

    Cells of a run folder that the plan does not name are of an earlier recipe and are left out of the report.
    """

    name: str
    cells: list[PlannedCell]
    language: str = ""
    methods: dict[str, dict[str, Any]] = {}
    """method -> its block as resolved, in the recipe's order."""
    language_models: dict[str, str] = {}
    """method -> id of its LanguageModelRecord."""
    tasks: dict[str, str] = {}
    """task name -> id of its TaskRecord."""
    corpus: str | None = None
    """Id of the CorpusRecord."""


class LanguageModelRecord(Record):
    """A language model of one method."""

    id: str
    method: str
    family: str
    architecture: str
    """For example "GPT-J, 4 layers of 256" or "QRNN, 4 layers of 1552"."""
    parameters: int
    origin: str
    """"from scratch", "random initialisation", or "pretrained weights <sha256>"."""
    tokenizer: str
    vocab_size: int
    bits_per_byte: float | None
    nats_per_token: float | None
    fertility: float | None
    """Tokens a whitespace-separated word on the held-out text."""
    tokens_per_byte: float | None
    unknown_rate: float | None
    """Share of held-out tokens that are <unk>."""
    held_out_bytes: int | None
    tokens_per_character: float | None = None
    """On the first 2 MB of the corpus's valid split."""
    segmented_fertility: float | None = None
    """Likewise: tokens a word as the recipe's `segment` tells words."""
    cost: Cost
    """Of pretraining; cost.bytes_seen and tokens_seen count repetitions."""
    facts: dict[str, Any] = {}


class TaskRecord(Record):
    """A task as it was used."""

    id: str
    name: str
    language: str
    kind: TaskKind = "classification"
    labels: list[str]
    counts: dict[str, dict[str, int]]
    """split -> label -> documents."""
    documents: dict[str, int] = {}
    """split -> labelled documents; where it is not said, each has one label and `counts` tells."""
    without_labels: dict[str, int] = {}
    """split -> those of them whose set of labels is empty."""
    share_of_bytes_cut: float
    licence: str
    statement: str
    audit: dict[str, Any]
    """Facts of audit_leaks: exact duplicates between splits, passages shared with the corpus."""


class CorpusRecord(Record):
    """A corpus as it was used."""

    id: str
    name: str
    language: str
    facts: dict[str, Any]
    """Facts of build_corpus: documents and bytes by split, funnel (list of {reason, pages, example_ids})."""
    licence: str
    statement: str
    cost: Cost


class MachineRecord(Record):
    """Where and how a run was made."""

    command: str
    date: str
    processor: str
    cores: int
    memory_bytes: int
    platform: str
    versions: dict[str, str]
    threads: int
    wall_s: float
