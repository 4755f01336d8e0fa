"""The model card of an exported model, in Hugging Face's form: metadata, scores with intervals, data, limits."""

import json
from typing import Any

from lowres.experiment.records import CellRecord, CorpusRecord, LanguageModelRecord, TaskRecord
from lowres.labels import THRESHOLD, labelling
from lowres.report.format import bounds, duration, labels, large, number, percent, score
from lowres.report.markdown import escape
from lowres.report.results import Results
from lowres.report.summary import Summary

_SCORES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "micro_f1": "micro-F1",
    "samples_f1": "F1 of a text's labels, mean over texts",
    "jaccard": "Jaccard similarity of a text's labels, mean over texts",
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "mcc": "Matthews correlation",
    "log_loss": "log loss",
    "ece": "expected calibration error",
}

_KNOWN_LICENCES = {
    "cc0-1.0",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "mit",
    "apache-2.0",
}


def classifier_card(summary: Summary, cell: CellRecord, notes: list[str]) -> str:
    """README.md of the classifier of `cell`. notes: how it is packed, a sentence each."""
    results = summary.results
    task = results.task(cell.task)
    model = results.language_model(cell.method)
    sets = labelling(results.kind(cell.task)).sets
    name = f"{results.name}, {cell.method} on {cell.task}"
    tags = [cell.family, "text-classification", *(["multi-label-classification"] if sets else [])]
    meta = {
        **_metadata(results, "text-classification", tags),
        "model-index": [{"name": name, "results": [_model_index(summary, cell)]}],
    }
    parts = [
        _front(meta),
        f"# {escape(name)}",
        f"A {'multi-label ' if sets else ''}text classifier ({escape(_kind(cell, model))}) with the labels "
        f"{', '.join(escape(label) for label in (task.labels if task else []))}. {_SETS if sets else ''}Trained with "
        f"{labels(cell.train_size, cell.labels_used)}, subset {cell.subset}, seed {cell.seed}. {' '.join(notes)}",
        "```sh\nlowres predict THIS_FOLDER < texts.txt      # a line each: label, tab, probability"
        f"{'; tab, next label' if sets else ''}\n```",
        _scores(summary, cell),
        _training(results, cell, model),
        _data(results, cell.task, model),
        _LIMITS + _OF_CLASSIFIERS,
    ]
    return "\n\n".join(parts) + "\n"


def language_model_card(results: Results, model: LanguageModelRecord, ways: list[str]) -> str:
    """README.md of a method's language model. ways: "forward", "backward" or both, each in a folder of its name."""
    meta = _metadata(results, "text-generation", [model.family, "language-model"])
    name = f"{results.name}, language model of {model.method}"
    folders = "It holds two models, `forward/` and `backward/`." if len(ways) > 1 else ""
    both = ' with `classifier.direction = "both"`' if folders else ""
    bits = number(model.bits_per_byte, 3)
    measured = (
        f"{bits} bits a byte on {model.held_out_bytes:,} held-out bytes ({percent(model.unknown_rate)} of the tokens "
        f"unknown, {number(model.fertility)} tokens a word)."
        if model.held_out_bytes
        else "No held-out text was scored."
    )
    parts = [
        _front(meta),
        f"# {escape(name)}",
        f"{escape(model.architecture)}, {large(model.parameters)} parameters, {escape(model.origin)}; "
        f"{escape(model.tokenizer)}, {model.vocab_size:,} pieces. {folders}",
        f'In a recipe: `init = "THIS_FOLDER"`{both}.',
        f"## Scores\n\n{measured} A single model: how much another seed would change this is not known.",
        _training(results, None, model),
        _data(results, None, model),
        _LIMITS + "\n- It writes text like its corpus, true or not; it knows nothing of facts, and nothing after the "
        "corpus's date.",
    ]
    return "\n\n".join(parts) + "\n"


_SETS = (
    "A text has none, one or several of them; each is predicted by itself, where its probability is "
    f"{THRESHOLD:g} or more. "
)

_LIMITS = (
    "## Limits\n\n"
    "- Made for research. What the corpus and the labels have of bias and error the model has, too; see the data "
    "statements.\n- Nothing was measured of what it does to groups of people: do not let it decide about any."
)


_OF_CLASSIFIERS = (
    "\n- The scores hold for texts like the task's test split. Other domains, dialects, years and spellings were not "
    "measured.\n- A probability is right as often as it says only as far as the calibration error above tells."
)


def _front(meta: dict[str, Any]) -> str:
    """YAML whose values are JSON, which YAML includes."""
    return "\n".join(
        ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in meta.items()), "---"]
    )


def _metadata(results: Results, pipeline: str, tags: list[str]) -> dict[str, Any]:
    return {
        "language": [_code(results.plan.language)] if results.plan.language else [],
        **_licence([*results.corpora, *(results.tasks if pipeline == "text-classification" else ())]),
        "library_name": "lowres",
        "pipeline_tag": pipeline,
        "tags": [*tags, "low-resource"],
    }


def _licence(records: list[CorpusRecord | TaskRecord]) -> dict[str, str]:
    """Hugging Face's name of the one licence of the data, or what each of several is called."""
    found = {record.licence.lower() for record in records}
    if len(found) == 1 and found < _KNOWN_LICENCES:
        return {"license": found.pop()}
    names = "; ".join(sorted(f"{record.name}: {record.licence}" for record in records))
    return {"license": "other", "license_name": f"as the data it was trained on ({names or 'unknown'})"}


def _code(language: str) -> str:
    """ISO 639-1 where there is one, which Hugging Face asks for, else ISO 639-3."""
    import pycountry

    return getattr(pycountry.languages.get(alpha_3=language), "alpha_2", language)


def _model_index(summary: Summary, cell: CellRecord) -> dict[str, Any]:
    metrics = []
    for key in summary.metrics(cell.task):
        kind = "f1" if key.endswith("f1") else "accuracy"
        if (value := cell.scores.get("test", {}).get(key)) is not None:
            metrics.append({"type": kind, "name": f"{_SCORES[key]}, this model", "value": round(value, 4)})
        mean = summary.score(cell.task, cell.train_size, cell.method, key)
        if mean.mean is not None:
            where = f"mean of {_runs(mean.ok)}, 95 % interval {bounds(mean.mean)}"
            metrics.append({"type": kind, "name": f"{_SCORES[key]}, {where}", "value": round(mean.mean.mean, 4)})
    return {
        "task": {"type": "text-classification", "name": "text classification"},
        "dataset": {"type": cell.task, "name": cell.task, "split": "test"},
        "metrics": metrics,
    }


def _kind(cell: CellRecord, model: LanguageModelRecord | None) -> str:
    if model is None:
        return str(cell.settings.get("model", cell.family))
    return f"{model.architecture}; language model {model.origin}"


def _scores(summary: Summary, cell: CellRecord) -> str:
    """The model's own scores, and the mean of its method with the interval."""
    lines = [
        "## Scores on the test split",
        "",
        "| | this model | mean of the method's runs, 95 % interval |",
        "|---|---|---|",
    ]
    for key, name in _SCORES.items():
        if (value := cell.scores.get("test", {}).get(key)) is None:
            continue
        several = ""
        if key in summary.metrics(cell.task):
            mean = summary.score(cell.task, cell.train_size, cell.method, key)
            if mean.mean is not None:
                several = f"{score(mean.mean.mean)} {bounds(mean.mean)}, {_runs(mean.ok)}"
        lines.append(f"| {name} | {score(value) if value < 1 else number(value, 3)} | {several} |")
    chosen = (
        "It was kept for the best dev macro-F1 of its method, so its scores are a little flattered; the mean is not."
    )
    return "\n".join([*lines, "", chosen])


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _training(results: Results, cell: CellRecord | None, model: LanguageModelRecord | None) -> str:
    facts = []
    if model is not None:
        bits = f"; {number(model.bits_per_byte, 3)} bits a byte held out" if model.bits_per_byte else ""
        facts.append(
            ("language model", f"{model.architecture}, {large(model.parameters)} parameters, {model.origin}{bits}")
        )
        seen = f"{large(model.cost.bytes_seen, 'B')} and {large(model.cost.tokens_seen)} tokens seen"
        facts.append(("pretraining", f"{seen}, {duration(model.cost.seconds)}"))
    if cell is not None:
        if cell.tuning is not None:
            facts.append(("tuning on the task's training texts", duration(cell.tuning.seconds)))
        facts.append(("classifier", f"{large(cell.parameters)} parameters, trained in {duration(cell.cost.seconds)}"))
        facts.append(("settings", json.dumps(cell.settings, ensure_ascii=False, sort_keys=True)))
    if results.machine is not None:
        facts.append(
            ("machine", f"{results.machine.processor}, {results.machine.threads} threads, {results.machine.date}")
        )
    return "## Training\n\n" + "\n".join(f"- {name}: {escape(value)}" for name, value in facts)


def _data(results: Results, task: str | None, model: LanguageModelRecord | None) -> str:
    """The statements of the corpus, where a language model was trained, and of the task."""
    own = results.corpora if model is not None and model.origin == "from scratch" else ()
    tasks = tuple(record for record in results.tasks if record.name == task)
    parts = ["## Data statements"]
    for record in (*own, *tasks):
        parts.append(f"### {escape(record.name)}\n\nLicence: {escape(record.licence)}\n\n{record.statement.strip()}")
    if len(parts) == 1:
        parts.append(
            "The run names no corpus that this model was trained on. Say what it learnt from before you pass it on."
        )
    return "\n\n".join(parts)
