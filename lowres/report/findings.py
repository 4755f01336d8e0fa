"""What a comparison found, in sentences that say no more than its intervals do."""

from lowres.report import format as fmt
from lowres.report.results import Results, TrainSize
from lowres.report.summary import Comparison, Summary


def headline(summary: Summary) -> str:
    """The finding in one sentence: at the smallest train size of the first task where methods can be compared."""
    results = summary.results
    for task in results.task_names:
        for size in results.train_sizes(task):
            if sentence := family_finding(summary, task, size):
                return sentence
    if results.task_names:
        return without_comparison(summary, results.task_names[0])
    return language_model_finding(results)


def findings(summary: Summary) -> list[str]:
    """The other findings: families at every task and size, then gains from pretraining; the headline is left out."""
    results, said = summary.results, headline(summary)
    found = []
    for task in results.task_names:
        for size in results.train_sizes(task):
            found.append(family_finding(summary, task, size))
            found += [gain_finding(summary, d) for d in summary.of_kind("pretraining", task) if d.train_size == size]
    return [sentence for sentence in found if sentence and sentence != said]


def family_finding(summary: Summary, task: str, size: TrainSize) -> str:
    """The leading method against the best one of another family, or "" where there is no such pair."""
    pair = [d for d in summary.of_kind("family", task) if d.train_size == size]
    if not pair:
        return ""
    results, difference = summary.results, pair[0]
    first, second = (described(results, method) for method in (difference.method, difference.other))
    start = f"With {fmt.labels(size, difference.labels_used)} of {task}"
    amount = fmt.estimate(difference.estimate)
    if difference.estimate.verdict == "better":
        return f"{start}, {first} is better than {second} by {amount} macro-F1."
    return f"{start}, {first} and {second} are {difference.estimate.verdict} (difference {amount})."


def gain_finding(summary: Summary, difference: Comparison) -> str:
    """What pretraining gained one method."""
    start = f"With {fmt.labels(difference.train_size, difference.labels_used)} of {difference.task}"
    amount = fmt.estimate(difference.estimate, signed=True)
    what = f"the gain of {difference.method} from pretraining is {amount} macro-F1"
    words = {"better": "", "worse": ": pretraining hurts here"}.get(
        difference.estimate.verdict, f": {difference.estimate.verdict}"
    )
    return f"{start}, {what}{words}."


def described(results: Results, method: str) -> str:
    """A method by name and, where it has a language model, by what that is."""
    model = results.language_model(method)
    return f"{method} ({fmt.model_name(model)})" if model else method


def without_comparison(summary: Summary, task: str) -> str:
    """Why nothing can be compared: one method, or cells that are missing."""
    results = summary.results
    for score in summary.scores:
        if (score.task, score.metric, len(results.methods)) == (task, "macro_f1", 1) and score.mean is not None:
            labels, reached = fmt.labels(score.train_size, score.labels_used), fmt.estimate(score.mean)
            return f"{described(results, score.method)} reaches {reached} macro-F1 with {labels} of {task}."
    return f"Nothing can be compared yet: {missing_line(results) or 'no train size has two methods with all cells.'}"


def missing_line(results: Results) -> str:
    """How many cells are missing, and where; "" where none is."""
    missing = results.unfinished
    if not missing:
        return ""
    names = list(dict.fromkeys(planned.method for planned, _ in missing))
    where = ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")
    count, total = len(missing), len(results.plan.cells)
    return f"{count} of {total} cells did not end ok ({where}); no mean is shown where one is missing."


def language_model_finding(results: Results) -> str:
    """The best language model of a run without tasks."""
    scored = [model for model in results.language_models if model.bits_per_byte is not None]
    if not scored:
        return f"{results.name}: no classifier and no language model was asked for, or none has finished."
    best = min(scored, key=lambda model: model.bits_per_byte or 0.0)
    return f"{best.method} ({fmt.model_name(best)}) reaches {fmt.number(best.bits_per_byte, 3)} bits per byte."
