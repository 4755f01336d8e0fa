"""From a recipe to the nodes that must stand at its end, and the cells they serve."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from lowres.artifacts import Node
from lowres.cards import Card, CardFile, TaskCard, TokenizerCard, read_card
from lowres.corpus.spec import BUILD_CORPUS, CorpusSpec
from lowres.experiment.records import PlannedCell, PlanRecord
from lowres.families import family
from lowres.families.contract import Family, LanguageModel, MethodBlock, PredictSpec, Shared, picked
from lowres.fingerprint import fingerprint
from lowres.metrics.spec import scores
from lowres.recipe import LoadedRecipe
from lowres.store import Store
from lowres.tasks.spec import AUDIT_LEAKS, READ_TASK, AuditSpec, SourceFile, TaskSpec, subset_node
from lowres.text.spec import segmenter_at, trained_segmenter
from lowres.tokenizers.spec import (
    READ_GPT2_TOKENIZER,
    TRAIN_TOKENIZER,
    TRAIN_WORD_TOKENIZER,
    Gpt2Spec,
    Subword,
    TokenizerSpec,
    WordTokenizerSpec,
    fertility,
    hf_tokenizer,
)

GPT2_CARD = "tokenizers/gpt2"
LAST_STAGES = ("corpus", "tokenizer", "lm", "classifier", "predict", "report")


@dataclass(frozen=True)
class RawFile:
    """A raw file that a stage reads, with the card that says where it is."""

    card: Card
    card_path: Path
    file: CardFile


@dataclass(frozen=True)
class PlannedTask:
    """A task of the recipe: its card and its nodes."""

    name: str
    card: TaskCard
    read: Node
    audit: Node


@dataclass(frozen=True)
class Cell:
    """One (method, task, train size, subset, seed) and the nodes that end in its scores."""

    method: str
    task: str
    train_size: int | Literal["full"]
    subset: int
    seed: int
    subset_node: Node
    classifier: Node
    predictions: Node
    scores: Node

    @cached_property
    def id(self) -> str:
        """Names the cell: its place in the comparison and what is computed there."""
        return fingerprint([self.method, self.task, self.train_size, self.subset, self.seed, self.scores.id])[:32]

    @property
    def label(self) -> str:
        """How progress and failures call it."""
        return f"{self.method} · {self.task} · {self.train_size} labels · subset {self.subset} · seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that a recipe asks for, as nodes. Nothing is computed by making one."""

    loaded: LoadedRecipe
    corpus: Node | None
    tokenizer: Node | None
    language_models: dict[str, LanguageModel]
    tasks: tuple[PlannedTask, ...]
    cells: tuple[Cell, ...]
    raw_files: dict[str, RawFile] = field(default_factory=dict)
    until: str | None = None
    words: Node | None = None
    """A tokenizer of whole words."""
    fertility: tuple[Node, ...] = ()
    """The tokenizers measured on the corpus: by the words of `segment`, or because they were not learnt from it."""

    def wanted(self) -> list[Node]:
        """The nodes that must stand at the end; `until` leaves out the later ones."""
        stop = LAST_STAGES.index(self.until) if self.until else len(LAST_STAGES)
        nodes = [self.corpus] if self.corpus else []
        if stop >= 1 and self.tokenizer:
            nodes.append(self.tokenizer)
        if stop >= 1:
            nodes.extend(self.fertility)
        if stop >= 2:
            for model in self.language_models.values():
                nodes.extend(node for node in (model.weights, model.evaluation) if node)
        nodes.extend(node for task in self.tasks for node in (task.read, task.audit))
        if stop >= 3:
            nodes.extend(cell.classifier if stop == 3 else cell.scores for cell in self.cells)
        return list({node.id: node for node in nodes}.values())

    def record(self) -> PlanRecord:
        """The plan as it is kept in the run's folder."""
        methods = self.loaded.recipe.methods
        return PlanRecord(
            name=self.loaded.name,
            language=self.loaded.recipe.language,
            cells=[
                PlannedCell(
                    cell=cell.id,
                    method=cell.method,
                    family=methods[cell.method].family,
                    task=cell.task,
                    train_size=cell.train_size,
                    subset=cell.subset,
                    seed=cell.seed,
                )
                for cell in self.cells
            ],
            methods={name: block.model_dump(mode="json") for name, block in methods.items()},
            language_models={name: model.weights.id for name, model in self.language_models.items()},
            tasks={task.name: task.read.id for task in self.tasks},
            corpus=self.corpus.id if self.corpus else None,
        )


def make_plan(loaded: LoadedRecipe, until: str | None = None) -> Plan:
    """The plan of a recipe."""
    recipe = loaded.recipe
    raw: dict[str, RawFile] = {}
    corpus = _corpus_node(loaded, raw)
    tokenizer = _tokenizer_node(loaded, corpus)
    segmenter = _segmenter_node(loaded, raw)
    words = _words_node(loaded, corpus, segmenter)
    shared = Shared(
        language=recipe.language,
        corpus=corpus,
        tokenizer=tokenizer,
        lm_seed=recipe.lm_seed,
        unlabelled=recipe.budget.unlabelled,
        gpt2=_gpt2_node(loaded, raw),
        words=words,
        prompts={card.name: card.prompts for card, _ in loaded.tasks},
    )
    models: dict[str, LanguageModel] = {}
    for name, method in recipe.methods.items():
        model = _family(method).language_model(method, shared)
        if model is not None:
            models[name] = model
    tasks = tuple(_planned_task(loaded, card, path, corpus, raw) for card, path in loaded.tasks)
    cells = tuple(_cells(loaded, shared, tasks))
    measured = _fertility_nodes(loaded, corpus, segmenter, (tokenizer, words))
    return Plan(loaded, corpus, tokenizer, models, tasks, cells, raw, until, words, measured)


def reach(ends: Iterable[Node]) -> dict[str, Node]:
    """`ends` and all that they are made from, by id, whether they stand or not."""
    reached: dict[str, Node] = {}
    stack = list(ends)
    while stack:
        node = stack.pop()
        if node.id not in reached:
            reached[node.id] = node
            stack.extend(node.inputs.values())
    return reached


def every_node(plan: Plan) -> dict[str, Node]:
    """All nodes of a plan by id, those of later stages than `until` included."""
    return reach([*plan.wanted(), *(cell.classifier for cell in plan.cells)])


def labels_of(plan: Plan) -> dict[str, str]:
    """What progress calls each node: its stage, and whose it is (the first owner of a shared one)."""
    others = plan.corpus.inputs if plan.corpus else {}
    owned: list[tuple[Node | None, str]] = []
    owned += [(others.get(f"against_{card.language}"), card.name) for card, _ in plan.loaded.others]
    owned.append((plan.corpus, plan.loaded.recipe.corpus or ""))
    owned += [(node, plan.loaded.recipe.corpus or "") for node in (plan.tokenizer, plan.words, *plan.fertility)]
    for task in plan.tasks:
        owned += [(task.read, task.name), (task.audit, task.name)]
    for method, model in plan.language_models.items():
        owned += [(model.weights, method), (model.evaluation, method)]
    for cell in plan.cells:
        owned += [
            (cell.subset_node, f"{cell.task} · {cell.train_size} · subset {cell.subset}"),
            (cell.scores, cell.label),
        ]
    labels: dict[str, str] = {}

    def name(node: Node, owner: str) -> None:
        if node.id not in labels:
            labels[node.id] = f"{node.stage.name.split('.')[-1].replace('_', ' ')} · {owner}"
            for child in node.inputs.values():
                name(child, owner)

    for node, owner in owned:
        if node is not None:
            name(node, owner)
    return labels


def walk_back(wanted: Iterable[Node], store: Store) -> list[Node]:
    """The nodes that must be built for `wanted`, inputs first; an input that nothing missing needs is not rebuilt."""
    order: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if node.id in order or store.has(node.id):
            return
        for child in node.inputs.values():
            visit(child)
        order[node.id] = node

    for node in wanted:
        visit(node)
    return list(order.values())


def _family(method: MethodBlock) -> Family:
    return family(method.family)


def _corpus_node(loaded: LoadedRecipe, raw: dict[str, RawFile]) -> Node | None:
    if loaded.corpus is None:
        return None
    card, recipe = loaded.corpus[0], loaded.recipe
    for each, where in (loaded.corpus, *loaded.others):
        raw.update({file.pinned: RawFile(each, where, file) for file in each.texts})
    spec = CorpusSpec.of(card, recipe.normalisation).model_copy(
        update={
            "markup": recipe.markup,
            "filters": recipe.filters,
            "splits": recipe.splits,
            "max_bytes": recipe.budget.corpus_bytes,
        }
    )
    others = {
        f"against_{other.language}": Node(BUILD_CORPUS, CorpusSpec.of(other, recipe.normalisation))
        for other, _ in loaded.others
    }
    return Node(BUILD_CORPUS, spec, others)


def _tokenizer_node(loaded: LoadedRecipe, corpus: Node | None) -> Node | None:
    """The tokenizer that exists, or the one that the corpus trains."""
    recipe = loaded.recipe
    if recipe.tokenizer.kind == "hf":
        return hf_tokenizer(recipe.tokenizer)
    if corpus is None:
        return None
    spec = TokenizerSpec(subword=Subword(**picked(recipe.tokenizer, Subword)), language=recipe.language)
    return Node(TRAIN_TOKENIZER, spec, {"corpus": corpus})


def _segmenter_node(loaded: LoadedRecipe, raw: dict[str, RawFile]) -> Node | None:
    """What tells words, where it is not white space."""
    if loaded.recipe.segmenter is None:
        return None
    if loaded.treebank is None:
        return segmenter_at(Path(loaded.recipe.segmenter))
    card, path = loaded.treebank
    raw.update({file.pinned: RawFile(card, path, file) for file in card.files})
    return trained_segmenter(card)


def _words_node(loaded: LoadedRecipe, corpus: Node | None, segmenter: Node | None) -> Node | None:
    """The tokenizer of whole words, where a method has one."""
    recipe = loaded.recipe
    if corpus is None or not any(getattr(method, "tokens", None) == "word" for method in recipe.methods.values()):
        return None
    spec = WordTokenizerSpec(words=recipe.words, language=recipe.language)
    return Node(TRAIN_WORD_TOKENIZER, spec, _in_words(corpus, segmenter))


def _in_words(corpus: Node, segmenter: Node | None) -> dict[str, Node]:
    """The inputs of a stage that reads a corpus word by word."""
    return {"corpus": corpus} | ({"segmenter": segmenter} if segmenter else {})


def _fertility_nodes(
    loaded: LoadedRecipe, corpus: Node | None, segmenter: Node | None, tokenizers: Iterable[Node | None]
) -> tuple[Node, ...]:
    """The measurements of tokenizers. Without `segment`: of one that exists, for training measures the others."""
    segmented = loaded.recipe.segment is not None
    if corpus is None or not (segmented or loaded.recipe.tokenizer.kind == "hf"):
        return ()
    return tuple(fertility(each, corpus, segmenter, segmented=segmented) for each in tokenizers if each is not None)


def _gpt2_node(loaded: LoadedRecipe, raw: dict[str, RawFile]) -> Node | None:
    """GPT-2's tokenizer, where a method asks for it."""
    if not any(getattr(method, "needs_gpt2", False) for method in loaded.recipe.methods.values()):
        return None
    card, path = read_card(GPT2_CARD, TokenizerCard)
    files = {file.role: file for file in card.files}
    raw.update({file.pinned: RawFile(card, path, file) for file in card.files})
    spec = Gpt2Spec(encoder_sha256=files["encoder"].pinned, merges_sha256=files["merges"].pinned)
    return Node(READ_GPT2_TOKENIZER, spec)


def _planned_task(
    loaded: LoadedRecipe, card: TaskCard, path: Path, corpus: Node | None, raw: dict[str, RawFile]
) -> PlannedTask:
    recipe = loaded.recipe
    raw.update({file.pinned: RawFile(card, path, file) for file in card.files})
    spec = TaskSpec(
        name=card.name,
        kind=card.kind,
        language=card.language,
        files=tuple(SourceFile(role=file.role, sha256=file.pinned) for file in card.files),
        layout=card.layout,
        carving=card.carving,
        normalisation=recipe.normalisation,
        max_chars=recipe.budget.max_chars,
    )
    read = Node(READ_TASK, spec)
    inputs = {"task": read} if corpus is None else {"task": read, "corpus": corpus}
    return PlannedTask(card.name, card, read, Node(AUDIT_LEAKS, AuditSpec(), inputs))


def _cells(loaded: LoadedRecipe, shared: Shared, tasks: tuple[PlannedTask, ...]) -> Iterator[Cell]:
    """Every cell, small sizes first, so that a first picture comes early."""
    recipe = loaded.recipe
    for task in tasks:
        for size in recipe.sizes:
            for number in range(1 if size == "full" else recipe.subsets):
                drawn = subset_node(task.read, size, number, recipe.dev)
                for name, method in recipe.methods.items():
                    kind = _family(method)
                    for seed in recipe.seeds:
                        classifier = kind.classifier(method, shared, task.read, drawn, seed)
                        predicted = Node(kind.predict, PredictSpec(), {"classifier": classifier, "task": task.read})
                        yield Cell(name, task.name, size, number, seed, drawn, classifier, predicted, scores(predicted))
