"""The report's pictures: colour-blind safe, told apart by marker and dash as well, readable in grey print."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.budget import Split
from search.curve import DiversityCurve
from search.fit import Fit
from search.observations import Floats
from search.recommend import predict

# Okabe and Ito's palette, darkest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vP*"
DASHES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)), (0, (5, 1)), (0, (1, 1)))


def reward_by_size(fit: Fit, curve: DiversityCurve, base_reward: float | None, against: str) -> Figure:
    """Observed rewards with seed errors, and the prediction for each k with its 95% band."""
    figure, axes = _canvas()
    observed = fit.observed
    sizes = np.unique(np.geomspace(observed.prompts.min(), observed.prompts.max(), 60).astype(int))
    for index, k in enumerate(observed.levels):
        style = {"color": COLOURS[index % 7]}
        if fit.ensemble is not None:
            forecast = predict(fit, [Split(int(n), k) for n in sizes], curve)
            x = sizes if against == "prompts" else np.array([curve.at(n)[0] for n in sizes])
            low, high = forecast.interval()
            axes.fill_between(x, low, high, alpha=0.15, linewidth=0, **style)
            axes.plot(x, forecast.mean, linestyle=DASHES[index % 7], linewidth=1.6, **style)
        _observed(axes, fit, k, index, against)
    if against == "prompts":
        axes.set_xscale("log")
    axes.set_xlabel("prompts labelled" if against == "prompts" else "diversity D of the prompts")
    _base_line(axes, base_reward)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def _observed(axes: Axes, fit: Fit, k: int, index: int, against: str) -> None:
    observed = fit.observed
    noise = observed.noise_variance or 0.0
    for varied in (False, True):
        here = (observed.responses == k) & (observed.varied == varied)
        if not here.any():
            continue
        x: Floats = getattr(observed, against)[here]
        label = f"{k} responses" + (", prompts chosen" if varied else "")
        face = "white" if varied else COLOURS[index % 7]
        axes.errorbar(
            x, observed.reward[here], np.sqrt(noise / observed.seeds[here]), fmt=MARKERS[index % 7], label=label,
            color=COLOURS[index % 7], markerfacecolor=face, markersize=6, capsize=2, elinewidth=1,
        )  # fmt: skip


def _base_line(axes: Axes, base_reward: float | None) -> None:
    if base_reward is not None:
        axes.axhline(base_reward, color="0.35", linewidth=1, linestyle=(0, (1, 2)), label="base model")


def _canvas(width: float = 6.4, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_ylabel("reward on held-out prompts")
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG fit for print and for MLflow."""
    figure.savefig(path, dpi=150)
    return path
