"""The scoring stage."""

from lowres.artifacts import Node, Spec, Stage


class ScoreSpec(Spec):
    """Scoring has no settings: every score is computed."""


SCORE_PREDICTIONS = Stage("score_predictions", 2, "data", "lowres.metrics.stages:score_predictions", ScoreSpec)


def scores(predictions: Node) -> Node:
    """The request for the scores of some predictions: facts `dev` and `test`, each a name -> value."""
    return Node(SCORE_PREDICTIONS, ScoreSpec(), {"predictions": predictions})
