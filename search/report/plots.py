"""The report's pictures: colour-blind safe, told apart by marker and dash as well, readable in grey print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from search.advice.recommendation import Recommendation
from search.config.cost import Split
from search.fit.fit import Fit
from search.fit.observations import Floats
from search.fit.question import Question, predict

# Okabe and Ito's palette, in an order whose first four also differ in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vP*"
DASHES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)), (0, (5, 1)), (0, (1, 1)))
REWARD = "reward on held-out prompts"
STEPS = 40


def reward_by_size(fit: Fit, question: Question, base_reward: float | None, against: str) -> Figure:
    """Observed rewards with their standard errors, and the prediction for each k with its 95% band.

    `against` is `diversity` or `prompts`: the paper's Figure 4c and 4a.
    """
    figure, axes = _canvas()
    sizes = _between(float(fit.observed.prompts.min()), float(fit.observed.prompts.max()))
    x = sizes
    if against == "diversity":
        diversity = np.array([question.curve.at(n) for n in sizes])
        places = _steady(diversity)
        sizes, x = sizes[places], diversity[places]
    for index, k in enumerate(fit.observed.levels):
        if fit.ensemble is not None:
            _band(axes, fit, question, [Split(int(n), k) for n in sizes], x, index)
        _observed(axes, fit, k, index, against)
    if against == "prompts":
        _log_axis(axes)
    axes.set_xlabel("prompts labelled (log scale)" if against == "prompts" else "diversity D of the prompts")
    _base_line(axes, base_reward)
    if fit.observed.varied.any():
        axes.plot([], [], "o", color="0.35", markerfacecolor="white", label="hollow: prompts chosen")
    _legend(axes)
    return figure


def reward_by_split(answer: Recommendation, base_reward: float | None) -> Figure:
    """The budget's splits with their 95% intervals, best on top."""
    figure, axes = _canvas(height=1.3 + 0.5 * len(answer.splits), grid="x")
    for row, split in enumerate(reversed(answer.splits)):
        best = split is answer.best
        colour = COLOURS[0] if best else "0.45"
        axes.plot(split.interval_95, (row, row), color=colour, linewidth=2.6 if best else 1.6)
        axes.plot(
            split.predicted_reward, row, "o" if best else "D", color=colour, markersize=8 if best else 6
        )
        axes.annotate(
            f"{split.predicted_reward:.3f}", (split.predicted_reward, row), (0, 8), ha="center",
            textcoords="offset points", fontsize=9, color=colour, weight="bold" if best else "normal",
        )  # fmt: skip
    axes.set_yticks(range(len(answer.splits)), [str(split.split) for split in reversed(answer.splits)])
    axes.set_ylim(-0.6, len(answer.splits) - 0.3)
    if base_reward is not None:
        axes.axvline(base_reward, color="0.35", linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(" base model", (base_reward, -0.55), fontsize=8, color="0.35")
    axes.set_xlabel(f"predicted {REWARD}, 95% interval")
    axes.set_ylabel("prompts x responses")
    return figure


def reward_by_budget(fit: Fit, question: Question) -> Figure | None:
    """Predicted reward of each k over budget, shaded beyond the dearest trial; None without a line."""
    if fit.ensemble is None:
        return None
    figure, axes = _canvas()
    budgets = _budget_fractions(fit, question)
    for index, k in enumerate(question.known(fit)):
        found = [
            (b, s)
            for b in budgets
            for s in question.at(float(b)).splits(fit)
            if s.responses == k and s.prompts > 1
        ]
        if found:
            _band(axes, fit, question, [s for _, s in found], np.array([b for b, _ in found]), index, label=k)
    axes.axvline(question.budget, color="0.2", linewidth=1)
    axes.annotate(" budget", (question.budget, 0.02), xycoords=("data", "axes fraction"), fontsize=9)
    limit = max(question.cost_model.cost(int(n), int(k)) for n, k in _tried(fit))
    if limit < budgets[-1]:
        axes.axvspan(limit, budgets[-1], color="0.93", zorder=0)
        axes.annotate(" beyond the trials", (limit, 0.96), xycoords=("data", "axes fraction"), fontsize=8)
    _log_axis(axes)
    axes.set_xlabel(f"budget ({question.cost_model.unit}, log scale)")
    _legend(axes)
    return figure


def rewards_by_cost(answer: Recommendation) -> Figure:
    """Each cost model's splits side by side: the lead of the best over the others, as bars of reward."""
    views = answer.cost_models
    figure = Figure(figsize=(3.1 * len(views) + 0.6, 2.9), dpi=150, layout="constrained")
    grid = figure.subplots(1, len(views), sharex=True, squeeze=False)[0]
    for axes, view in zip(grid, views, strict=True):
        for row, (reward, interval) in enumerate(zip(view.rewards, view.intervals_95, strict=True)):
            colour = COLOURS[0] if row == 0 else "0.45"
            axes.plot(interval, (-row, -row), color=colour, linewidth=2)
            axes.plot(reward, -row, "o" if row == 0 else "D", color=colour)
        axes.set_yticks([-row for row in range(len(view.splits))], [str(split) for split in view.splits])
        axes.set_ylim(-len(view.splits) + 0.4, 0.6)
        axes.set_title(f"{view.name}\n{view.budget:,.6g} {view.unit}", fontsize=9)
        axes.set_xlabel("predicted reward", fontsize=9)
        _quiet(axes, "x")
    return figure


def diversity_by_prompts(fit: Fit, question: Question) -> Figure:
    """D over the number of prompts drawn at random, the trials on it, and Heaps' law beyond the measured."""
    figure, axes = _canvas(label="diversity D")
    curve = question.curve
    axes.plot(curve.prompts, curve.diversity, color=COLOURS[0], linewidth=1.8, label="random prompts")
    beyond = _between(float(curve.prompts[-1]), float(curve.prompts[-1]) * 3)
    axes.plot(beyond, [curve.at(n) for n in beyond], color=COLOURS[0], linestyle="--", label="Heaps' law")
    for varied, face in ((False, COLOURS[0]), (True, "white")):
        here = fit.observed.varied == varied
        label = "trials, prompts chosen" if varied else "trials, random prompts"
        if here.any():
            axes.plot(
                fit.observed.prompts[here], fit.observed.diversity[here], "o",
                color=COLOURS[1 if varied else 0], markerfacecolor=face, markersize=6, label=label,
            )  # fmt: skip
    _log_axis(axes)
    axes.set_xlabel("prompts (log scale)")
    _legend(axes)
    return figure


def rewards_by_domain(fit: Fit) -> Figure | None:
    """Mean reward of each domain in each trial with random prompts; None where prompts have no domains."""
    records = [record for record in fit.records if record.domain_rewards and record.selection == "random"]
    domains = sorted({name for record in records for name in record.domain_rewards})
    if len(domains) < 2:
        return None
    figure, axes = _canvas(height=1.4 + 0.42 * len(domains), grid="x")
    for index, k in enumerate(fit.observed.levels):
        for row, domain in enumerate(domains):
            values = [
                r.domain_rewards[domain] for r in records if r.responses == k and domain in r.domain_rewards
            ]
            height = np.full(len(values), row + 0.18 * (index - len(fit.observed.levels) / 2))
            label = None if row else f"{k} responses"
            axes.plot(values, height, MARKERS[index % 7], color=COLOURS[index % 7], markersize=5, label=label)
    axes.set_yticks(range(len(domains)), domains)
    axes.set_xlabel(REWARD)
    axes.set_ylabel("")
    _legend(axes)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG fit for print and for MLflow."""
    figure.savefig(path)
    return path


def _band(
    axes: Axes,
    fit: Fit,
    question: Question,
    splits: list[Split],
    x: Floats,
    index: int,
    label: int | None = None,
) -> None:
    forecast = predict(fit, splits, question.curve)
    low, high = (np.clip(end, 0, 1) for end in forecast.interval())
    colour, dash = COLOURS[index % 7], DASHES[index % 7]
    axes.fill_between(x, low, high, alpha=0.14, linewidth=0, color=colour)
    text = None if label is None else f"{label} responses"
    axes.plot(x, forecast.mean, linestyle=dash, linewidth=1.7, color=colour, label=text)


def _steady(x: Floats) -> list[int]:
    """Places of `x` that lie a fiftieth of its range or more from the place before.

    D jumps back a little here and there as prompts are added, which would tear a band's edges.
    """
    places = [0]
    for place in range(1, len(x)):
        if abs(x[place] - x[places[-1]]) >= np.ptp(x) / 50:
            places.append(place)
    return places


def _observed(axes: Axes, fit: Fit, k: int, index: int, against: str) -> None:
    observed = fit.observed
    noise = observed.noise_variance or 0.0
    colour, marker = COLOURS[index % 7], MARKERS[index % 7]
    for varied in (False, True):
        here = (observed.responses == k) & (observed.varied == varied)
        if not here.any():
            continue
        x: Floats = getattr(observed, against)[here]
        y = observed.reward[here]
        axes.errorbar(x, y, np.sqrt(noise / observed.seeds[here]), fmt="none", color=colour, elinewidth=1)
        label = None if varied else f"{k} responses"
        axes.plot(x, y, marker, color=colour, markerfacecolor="white" if varied else colour, label=label)


def _between(low: float, high: float) -> Floats:
    return np.unique(np.geomspace(max(low, 1), max(high, 1), STEPS).round())


def _tried(fit: Fit) -> set[tuple[float, float]]:
    return set(zip(fit.observed.prompts.tolist(), fit.observed.responses.tolist(), strict=True))


def _budget_fractions(fit: Fit, question: Question) -> Floats:
    budget_fractions = [question.cost_model.cost(int(n), int(k)) for n, k in _tried(fit)]
    low, high = min(*budget_fractions, question.budget), max(*budget_fractions, question.budget)
    return np.geomspace(max(low, high / 1e4, 1e-9), high * 1.5, STEPS)


def _base_line(axes: Axes, base_reward: float | None) -> None:
    if base_reward is not None:
        axes.axhline(base_reward, color="0.35", linewidth=1, linestyle=(0, (1, 2)), label="base model")


def _canvas(height: float = 4.2, label: str = REWARD, grid: str = "y") -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    _quiet(axes, grid)
    axes.set_ylabel(label)
    return figure, axes


def _quiet(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if grid == "x" else "y", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)


def _log_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1, 3), numticks=12))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.03)


def _legend(axes: Axes) -> None:
    """Above the axes, where it hides no point."""
    axes.legend(
        frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.2,
        handletextpad=0.5, borderaxespad=0.2,
    )  # fmt: skip
