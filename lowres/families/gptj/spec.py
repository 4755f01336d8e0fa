"""The stages of GPT-J methods, how a method becomes nodes, and the family."""

import json
from pathlib import Path

from lowres.artifacts import Node, Stage
from lowres.errors import DataError, RecipeError
from lowres.families.contract import (
    EvaluateSpec,
    Family,
    LanguageModel,
    PredictSpec,
    ReadSpec,
    Shared,
    picked,
)
from lowres.families.gptj.checkpoints.layout import INDEX, find_layout
from lowres.families.gptj.settings import (
    AdaptSettings,
    AdaptSpec,
    ClassifierSettings,
    ClassifierSpec,
    GptjMethod,
    InitSpec,
    PretrainSpec,
    PromptSpec,
    TuneSpec,
    VocabularySpec,
)
from lowres.fingerprint import file_sha256, fingerprint
from lowres.tokenizers.spec import packed

PRETRAIN_LM = Stage("gptj.pretrain_lm", 1, "gptj", "lowres.families.gptj.stages:pretrain_lm", PretrainSpec)
INIT_LM = Stage("gptj.init_lm", 1, "gptj", "lowres.families.gptj.stages:init_lm", InitSpec)
READ_LM = Stage("gptj.read_lm", 1, "gptj", "lowres.families.gptj.stages:read_lm", ReadSpec)
REPLACE_VOCABULARY = Stage(
    "gptj.replace_vocabulary", 1, "gptj", "lowres.families.gptj.replace:replace_vocabulary", VocabularySpec
)
EVALUATE_LM = Stage("gptj.evaluate_lm", 1, "gptj", "lowres.families.gptj.stages:evaluate_lm", EvaluateSpec)
ADAPT_LM = Stage("gptj.adapt_lm", 1, "gptj", "lowres.families.gptj.stages:adapt_lm", AdaptSpec)
TUNE_LM = Stage("gptj.tune_lm", 1, "gptj", "lowres.families.gptj.stages:tune_lm", TuneSpec)
TRAIN_CLASSIFIER = Stage(
    "gptj.train_classifier", 1, "gptj", "lowres.families.gptj.stages:train_classifier", ClassifierSpec
)
CHOOSE_PROMPT = Stage("gptj.choose_prompt", 1, "gptj", "lowres.families.gptj.choose:choose_prompt", PromptSpec)
PREDICT = Stage("gptj.predict", 1, "gptj", "lowres.families.gptj.stages:predict", PredictSpec)

_DEFAULT_TUNE_EPOCHS = 3.0


def language_model(method: GptjMethod, shared: Shared) -> LanguageModel:
    """The nodes of a method's language model. Raises RecipeError where the recipe lacks what it needs."""
    weights = _initial(method, shared, _tokenizer(method, shared))
    if method.adapt is not None:
        weights = _adapted(method.adapt, shared, weights)
    if shared.corpus is None or weights.stage is INIT_LM:
        return LanguageModel(weights, None)
    evaluation = Node(
        EVALUATE_LM, EvaluateSpec(held_out_bytes=method.lm.held_out_bytes), {"lm": weights, "corpus": shared.corpus}
    )
    return LanguageModel(weights, evaluation)


def _initial(method: GptjMethod, shared: Shared, tokenizer: Node | None) -> Node:
    """The weights that `init` names."""
    if method.init == "pretrain":
        if shared.corpus is None or tokenizer is None:
            raise RecipeError('init is "pretrain" and the recipe has no corpus; name one, or set init = "random"')
        spec = PretrainSpec(**picked(method.lm, PretrainSpec), seed=shared.lm_seed)
        return Node(PRETRAIN_LM, spec, {"packed": packed(shared.corpus, tokenizer), "tokenizer": tokenizer})
    if method.init == "random":
        if tokenizer is None:
            raise RecipeError('init is "random" and there is no tokenizer; name a corpus, or set tokenizer = "gpt2"')
        spec = InitSpec(**picked(method.lm, InitSpec), seed=shared.lm_seed)
        return Node(INIT_LM, spec, {"tokenizer": tokenizer})
    if method.vocabulary != "keep":
        return _in_another_language(method, shared)
    return _read(Path(method.init), tokenizer)


def _adapted(settings: AdaptSettings, shared: Shared, weights: Node) -> Node:
    """The node of a language model that goes on training as `adapt` says."""
    from lowres.families.gptj.tfrecords import record_files

    chosen, inputs = picked(settings, AdaptSpec), {}
    if settings.rows == "corpus":
        if shared.corpus is None:
            raise RecipeError('adapt.rows is "corpus" and the recipe has none; name one, or the path of .tfrecords')
        tokenizer = weights.inputs.get("tokenizer")  # a folder with a tokenizer of its own has no node of it
        inputs |= {"packed": packed(shared.corpus, tokenizer)} if tokenizer else {"corpus": shared.corpus}
    else:
        try:
            files = record_files(Path(settings.rows))
        except DataError as error:
            raise RecipeError(f"adapt.rows: {error}") from error
        chosen |= {"path": settings.rows, "files": {path.name: file_sha256(path) for path in files}}
    first = {"embeddings_only": True, "epochs": settings.embeddings_first, "lora": None}
    for phase in (first, {"epochs": settings.epochs}):
        if phase["epochs"]:
            spec = AdaptSpec(**{**chosen, **phase}, seed=shared.lm_seed)
            weights = Node(ADAPT_LM, spec, {**inputs, "lm": weights})
    return weights


def classifier(method: GptjMethod, shared: Shared, task: Node, subset: Node, seed: int) -> Node:
    """The node of a trained classifier; its language model is tuned on the task's texts first where `tune` says so."""
    weights = language_model(method, shared).weights
    default = 0.0 if weights.stage is INIT_LM else _DEFAULT_TUNE_EPOCHS
    epochs = default if method.tune.epochs is None else method.tune.epochs
    if epochs:
        settings = picked(method.tune, TuneSpec)
        settings["epochs"] = epochs
        inputs = {"lm": weights, "task": task} | ({"subset": subset} if shared.unlabelled == "subset" else {})
        weights = Node(TUNE_LM, TuneSpec(**settings, seed=shared.lm_seed), inputs)
    if method.classifier.arm == "prompt":
        spec = _prompt_spec(method.classifier, shared, str(getattr(task.spec, "name", "")), seed)
        return Node(CHOOSE_PROMPT, spec, {"lm": weights, "task": task, "subset": subset})
    spec = ClassifierSpec(**picked(method.classifier, ClassifierSpec), seed=seed)
    return Node(TRAIN_CLASSIFIER, spec, {"lm": weights, "task": task, "subset": subset})


def _in_another_language(method: GptjMethod, shared: Shared) -> Node:
    """A folder's model with the corpus's vocabulary. Raises RecipeError where the recipe has none, or lacks vectors."""
    corpus, tokenizer = shared.corpus, shared.tokenizer
    if corpus is None or tokenizer is None:
        raise RecipeError(f'vocabulary is "{method.vocabulary}" and the recipe has no corpus; name one')
    if missing := [path for path in method.vectors if not Path(path).is_file()]:
        raise RecipeError(f"vectors: {missing[0]}: no such file; paths go from the working directory")
    spec = VocabularySpec(
        how=method.vocabulary,  # type: ignore[arg-type]
        files=tuple(file_sha256(Path(path)) for path in method.vectors),
        paths=tuple(str(Path(path).resolve()) for path in method.vectors),
        seed=0 if method.vocabulary == "copy-mean" else shared.lm_seed,
    )
    return Node(REPLACE_VOCABULARY, spec, {"lm": _read(Path(method.init), shared.gpt2), "tokenizer": tokenizer})


def _prompt_spec(settings: ClassifierSettings, shared: Shared, task: str, seed: int) -> PromptSpec:
    """The prompts of a task that are tried. Raises RecipeError where its card has none, or none of that name."""
    prompts = shared.prompts.get(task, ())
    if not prompts:
        raise RecipeError(
            f'{task}: its card has no [[prompts]], which classifier.arm = "prompt" needs; write some there'
        )
    chosen = tuple(prompt for prompt in prompts if settings.prompt in (None, prompt.name))
    if not chosen:
        names = ", ".join(prompt.name for prompt in prompts)
        raise RecipeError(f"classifier.prompt is {settings.prompt!r}; the card of {task} has {names}")
    drawn = seed if settings.shots else 0  # without examples all seeds are one classifier
    return PromptSpec(prompts=chosen, shots=settings.shots, calibrate=settings.calibrate, seed=drawn)


def _tokenizer(method: GptjMethod, shared: Shared) -> Node | None:
    if method.tokenizer == "gpt2":
        if shared.gpt2 is None:
            raise RecipeError('tokenizer is "gpt2" and the recipe has no GPT-2 tokenizer card')
        return shared.gpt2
    return shared.tokenizer


def _read(folder: Path, tokenizer: Node | None) -> Node:
    """The request for the model in `folder`, with the tokenizer beside it or the method's."""
    try:
        layout = find_layout(str(folder))
    except DataError as error:
        raise RecipeError(f'init: {error}; or write "pretrain" or "random"') from error
    if layout.missing:
        raise RecipeError(f"{folder}: {layout.missing[0]} is missing, and {len(layout.missing) - 1} more files")
    if layout.kind != "mesh":
        _check_config(folder / "config.json")
    own = (folder / "tokenizer" / "lowres_tokenizer.json").is_file()
    if not own and tokenizer is None:
        raise RecipeError(
            f'{folder}: no tokenizer/ in it; set tokenizer = "gpt2", or name the corpus it was trained with'
        )
    weights = [Path(layout.root) / name for name in layout.files]
    index = folder / INDEX["torch"]  # *.safetensors are read without theirs
    weights += [index] if layout.kind == "torch" and index.is_file() else []
    paths = {folder / "config.json", *weights, *(folder.glob("tokenizer/*") if own else ())}
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(paths) if path.is_file()}
    return Node(
        READ_LM,
        ReadSpec(path=str(folder.resolve()), files=files),
        {} if own or tokenizer is None else {"tokenizer": tokenizer},
    )


def _check_config(path: Path) -> None:
    """Raises RecipeError where there is none, or one of another model."""
    if not path.is_file():
        raise RecipeError(f"{path}: missing; transformers wrote it beside the weights")
    if json.loads(path.read_text(encoding="utf-8")).get("model_type") != "gptj":
        raise RecipeError(f"{path}: model_type is not 'gptj'; this family reads GPT-J alone")


def weights_name(files: dict[str, str]) -> str:
    """One checksum for the weights of a folder: of their only file, or of the list of several."""
    weights = {name: sha for name, sha in files.items() if name != "config.json" and not name.startswith("tokenizer/")}
    return next(iter(weights.values())) if len(weights) == 1 else fingerprint(weights)


FAMILY = Family(
    name="gptj",
    method=GptjMethod,
    language_model=language_model,
    classifier=classifier,
    predict=PREDICT,
    loader="lowres.families.gptj.loading:load",
    generator="lowres.families.gptj.generate:load",
)
