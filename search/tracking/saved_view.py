"""The comparison of a study's trials as a saved view of MLflow's runs page: columns, order and charts.

MLflow 3.17 keeps such a view in a tag of the experiment, lists it under "Views", and opens it by the
address's `viewStateShareKey`. Nothing documents its form, so it is read off MLflow's own page.
"""

from __future__ import annotations

import json
from typing import Any

VIEW = "apportion"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
SINCE = (3, 17)
NAME = "apportion: reward and diversity"
SECTION = "apportion-charts"
METRICS, PARAMS = ("reward", "diversity"), ("prompts", "responses", "seeds")
RUNS = 100  # in one chart, MLflow's own limit for a scatter
# Of a run's dot, here of a trial with 1, 2, ... responses, and of all with more: darker, also in grey print.
# MLflow's charts cannot colour by a parameter, but keep to the colour that a run itself has.
COLOUR_TAG = "mlflow.runColor"
COLOURS = ("#feba2c", "#f89540", "#e16462", "#bf3984", "#a11b9b", "#7e03a8", "#4e02a2", "#0d0887")


def understood(version: str) -> bool:
    """Whether this version of MLflow has saved views."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return numbers >= SINCE


def colour(responses: int) -> str:
    """The colour of a trial with so many responses a prompt, in hex."""
    return COLOURS[min(responses, len(COLOURS)) - 1]


def saved_view(created_ms: int) -> str:
    """The tag's value; the same for the same time, which is that of the experiment's creation."""
    state = json.dumps(_state(), sort_keys=True)
    view = {"name": NAME, "createdAt": created_ms, "updatedAt": created_ms, "state": state}
    return json.dumps(view, sort_keys=True)


def _state() -> dict[str, Any]:
    """Trials alone, best reward first, with their columns, and three charts that show all of them."""
    return {
        "searchFilter": 'tags.role = "trial"',
        "orderByKey": "metrics.`reward`",
        "orderByAsc": False,
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in METRICS),
            *(f"params.`{name}`" for name in PARAMS),
        ],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {"uuid": SECTION, "name": "Reward and diversity", "display": True, "isReordered": False}
        ],
        "compareRunCharts": [
            _chart("SCATTER", xaxis=_metric("diversity"), yaxis=_metric("reward")),
            _chart("CONTOUR", xaxis=_metric("diversity"), yaxis=_param("responses"), zaxis=_metric("reward")),
            _chart(
                "PARALLEL",
                selectedParams=["prompts", "responses"],
                selectedMetrics=["diversity", "reward"],
                showAllRuns=True,
            ),
        ],
    }


def _chart(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "uuid": f"apportion-{kind.lower()}",
        "type": kind,
        "runsCountToCompare": RUNS,
        "metricSectionId": SECTION,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }


def _metric(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}


def _param(name: str) -> dict[str, str]:
    return {"key": name, "type": "PARAM"}
