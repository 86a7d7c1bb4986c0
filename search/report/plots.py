"""The report's pictures: colour-blind safe, told apart by marker and dash as well, readable in grey print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from search.advice.carry_over import Carried
from search.advice.prediction import Check
from search.advice.recommendation import Candidate, Recommendation
from search.config.cost import Labelling, Split
from search.fit.curve import DiversityCurve
from search.fit.fit import Fit
from search.fit.observations import Floats, groups_of
from search.fit.question import Question, predict

# Okabe and Ito's palette, in an order whose first four also differ in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vP*"
DASHES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)), (0, (5, 1)), (0, (1, 1)))
REWARD = "reward on held-out prompts"
STEPS = 40
PALE, GREY = 0.4, "0.35"
HALVES: tuple[Literal["left", "right", "top", "bottom"], ...] = ("left", "right", "top", "bottom")
NAME_LENGTH = 60


def reward_by_size(fit: Fit, question: Question, base_reward: float | None, against: str) -> Figure:
    """Observed rewards with their standard errors, and the prediction for each k with its 95% band.

    `against` is `diversity` or `prompts`: the paper's Figure 4c and 4a. Of the ways of labelling, only the
    first that the question allows is shown. Trials of a group are moved by its offset, so that they stand
    beside the lines that they bear on.
    """
    figure, axes = _canvas()
    if against == "diversity":
        sizes, x = rising_branch(fit, question.curve)
        past = fit.observed.prompts > sizes[-1]
    else:
        sizes = x = _between(float(fit.observed.prompts.min()), float(fit.observed.prompts.max()))
        past = np.zeros(fit.observed.count, bool)
    labelling = question.known_labellings(fit)[0]
    for index, k in enumerate(fit.observed.levels):
        if fit.ensemble is not None:
            _band(axes, fit, question, [Split.of(int(n), k, labelling) for n in sizes], x, index)
        _observed(axes, fit, Split.of(0, k, labelling), index, against, past)
    if against == "prompts":
        _log_axis(axes)
    axes.set_xlabel("prompts labelled (log scale)" if against == "prompts" else "diversity D of the prompts")
    _base_line(axes, base_reward)
    if fit.observed.varied.any():
        axes.plot([], [], "o", color="0.35", markerfacecolor="white", label="hollow: prompts chosen")
    if fit.observed.earlier.any() and not fit.observed.earlier.all():
        axes.plot([], [], "o", color="0.8", markeredgecolor="black", label="ringed: trained in this study")
    if past.any():
        label = f"pale: over {int(sizes[-1]):,} prompts, where D falls"
        axes.plot([], [], "o", color="0.35", alpha=PALE, label=label)
    _legend(axes)
    by = (fit.scale.text(-offset.amount, sign=True) for offset in fit.offsets)
    _name_groups(figure, fit, [f"moved by {amount}, to this study's height" for amount in by])
    return figure


def rising_branch(fit: Fit, curve: DiversityCurve) -> tuple[Floats, Floats]:
    """The fewest random prompts with each diversity among the trials, and that diversity, increasing.

    D may fall again as prompts are added (it does once no new bigram comes), so a line over all numbers of
    prompts would turn back on itself.
    """
    observed = fit.observed
    least = float(observed.diversity[~observed.varied].min()) if not observed.varied.all() else 0.0
    sizes = _between(1.0, float(observed.prompts.max()), 20 * STEPS)
    diversity = np.array([curve.at(n) for n in sizes])
    step = max(float(np.ptp(diversity[diversity >= least])) / (4 * STEPS), 1e-12)
    indices: list[int] = []
    for index in np.flatnonzero(diversity >= least * (1 - 1e-9)):
        if not indices or diversity[index] >= diversity[indices[-1]] + step:
            indices.append(int(index))
    if (peak := int(diversity.argmax())) > indices[-1]:
        indices.append(peak)
    return sizes[indices], diversity[indices]


def reward_by_split(answer: Recommendation, base_reward: float | None) -> Figure:
    """The best split of each number of responses with its 95% interval, best on top.

    With fewer prompts than the budget pays for, that many are shown too.
    """
    shown = _shown(answer)
    figure, axes = _canvas(height=1.3 + 0.42 * len(shown), grid="x")
    for row, split in enumerate(reversed(shown)):
        best = split is answer.best
        colour = COLOURS[0] if best else "0.45"
        axes.plot(split.interval_95, (row, row), color=colour, linewidth=2.6 if best else 1.6)
        axes.plot(
            split.predicted_reward, row, "o" if best else "D", color=colour, markersize=8 if best else 6,
            markerfacecolor=colour if split.tried else "white",
        )  # fmt: skip
        axes.annotate(
            answer.scale.text(split.predicted_reward), (split.predicted_reward, row), (0, 6), ha="center",
            textcoords="offset points", fontsize=9, color=colour, weight="bold" if best else "normal",
        )  # fmt: skip
    names = [f"{split.split}   {split.cost:,.6g}" for split in reversed(shown)]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(-0.6, len(shown) - 0.3)
    if base_reward is not None:
        axes.axvline(base_reward, color="0.35", linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(" base model", (base_reward, -0.55), fontsize=8, color="0.35")
    axes.set_xlabel(f"predicted {REWARD}\n95% interval; hollow: not tried")
    axes.set_ylabel(f"split, {answer.unit}")
    return figure


def _shown(answer: Recommendation) -> list[Candidate]:
    """The best split of each number of responses, labelled in each way, and the dearest where another."""
    dearest: dict[tuple[int, Labelling], Candidate] = {}
    for split in answer.splits:
        labels = split.responses, split.labelling
        known = dearest.setdefault(labels, split)
        dearest[labels] = split if split.cost > known.cost else known
    chosen = {*answer.by_responses, *(split for split in dearest.values() if split.tried)}
    return [split for split in answer.splits if split in chosen]


def reward_by_raters(answer: Recommendation) -> Figure | None:
    """The best split within the budget for each number of raters, a line for each number of responses.

    None where one number of raters was tried. Of the choices of responses, the recommended one is shown.
    """
    best: dict[int, list[Candidate]] = {}
    how = replace(answer.best.labelling, raters=None)
    for split in answer.by_responses:
        if replace(split.labelling, raters=None) == how:
            best.setdefault(split.responses, []).append(split)
    if len({split.raters for splits in best.values() for split in splits}) < 2:
        return None
    figure, axes = _canvas()
    shift = 0.06 * (np.arange(len(best)) - (len(best) - 1) / 2)
    for index, (k, splits) in enumerate(sorted(best.items())):
        rising = sorted(splits, key=lambda split: split.raters or 0)
        x = np.array([split.raters for split in rising], float) + shift[index]
        y = np.array([split.predicted_reward for split in rising])
        ends = np.abs(np.array([split.interval_95 for split in rising]).T - y)
        axes.errorbar(
            x, y, ends, fmt=MARKERS[index % 7], linestyle=DASHES[index % 7], color=COLOURS[index % 7],
            linewidth=1.4, elinewidth=1, label=f"{k} responses",
        )  # fmt: skip
    axes.set_xticks(sorted({s.raters for splits in best.values() for s in splits if s.raters}))
    axes.set_xlabel("raters per response")
    axes.set_ylabel(f"predicted {REWARD}")
    _legend(axes)
    return figure


def reward_by(answer: Recommendation, what: Literal["response_choice", "labels"]) -> Figure | None:
    """The best split within the budget for each value of a part of the labelling; None for one value."""
    best: dict[str, Candidate] = {}
    for split in sorted(answer.splits, key=lambda split: -split.predicted_reward):
        best.setdefault(getattr(split.labelling, what), split)
    if len(best) < 2:
        return None
    figure, axes = _canvas(height=1.3 + 0.42 * len(best), grid="x")
    for row, split in enumerate(best.values()):
        axes.plot(split.interval_95, (row, row), color=COLOURS[0], linewidth=1.6)
        axes.plot(split.predicted_reward, row, "o", color=COLOURS[0])
    axes.set_yticks(range(len(best)), [f"{name}: {split.split}" for name, split in best.items()])
    axes.set_ylabel("")
    axes.set_xlabel(f"predicted {REWARD}")
    return figure


def reward_by_budget(fit: Fit, question: Question) -> Figure | None:
    """Predicted reward of each tried k with all prompts that a budget pays for, and the best within it.

    Shaded beyond the dearest trial; None without a line.
    """
    if fit.ensemble is None:
        return None
    figure, axes = _canvas()
    budgets, labelling = _budget_fractions(fit, question), question.known_labellings(fit)[0]
    for index, k in enumerate(k for k in question.known(fit) if k in fit.observed.levels):
        sizes = [(b, question.at(float(b)).largest(k, labelling)) for b in budgets]
        found = [(b, split) for b, split in sizes if split and split.prompts > 1]
        if found:
            _band(axes, fit, question, [s for _, s in found], np.array([b for b, _ in found]), index, label=k)
    axes.plot(
        *_best_within(fit, question, budgets), color="0.1", linewidth=1.2, label="best within the budget"
    )
    axes.axvline(question.budget, color="0.2", linewidth=1)
    axes.annotate(" budget", (question.budget, 0.02), xycoords=("data", "axes fraction"), fontsize=9)
    limit = max(_spent(fit, question))
    if limit < budgets[-1]:
        axes.axvspan(limit, budgets[-1], color="0.93", zorder=0, label="beyond the trials")
    _log_axis(axes)
    axes.set_xlabel(f"budget ({question.cost_model.unit}, log scale)")
    _legend(axes)
    return figure


def _best_within(fit: Fit, question: Question, budgets: Floats) -> tuple[Floats, Floats]:
    """Budgets that buy anything, and the largest predicted reward within each: it never falls."""
    best: dict[float, float] = {}
    for budget in budgets:
        splits = question.at(float(budget)).splits(fit)
        if splits:
            best[float(budget)] = float(predict(fit, splits, question.curve, own=False).mean.max())
    return np.array(list(best)), np.maximum.accumulate(np.array(list(best.values())))


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
        here = (fit.observed.varied == varied) & (fit.observed.group == 0)
        label = "trials, prompts chosen" if varied else "trials, random prompts"
        if here.any():
            axes.plot(
                fit.observed.prompts[here], fit.observed.diversity[here], "o",
                color=COLOURS[1 if varied else 0], markerfacecolor=face, markersize=6, label=label,
            )  # fmt: skip
    for group in map(int, fit.observed.others):
        here = fit.observed.group == group
        x, y = fit.observed.prompts[here], fit.observed.diversity[here]
        axes.plot(x, y, "o", color=GREY, markersize=9, zorder=1, **_face(GREY, False, group))
    _log_axis(axes)
    axes.set_xlabel("prompts (log scale)")
    _legend(axes)
    _name_groups(figure, fit)
    return figure


def predicted_and_observed(checks: Sequence[Check]) -> Figure:
    """Each trial's predicted mean reward with its 95% interval, and the observed one; the first on top."""
    figure, axes = _canvas(height=1.3 + 0.42 * len(checks), grid="x")
    for row, check in enumerate(reversed(checks)):
        first = row == 0
        axes.plot(check.interval_95, (row, row), color="0.45", linewidth=2, zorder=1)
        label = "predicted by earlier trials" if first else None
        axes.plot(check.predicted, row, "|", color="0.25", markersize=12, label=label)
        colour = COLOURS[0] if check.held else COLOURS[1]
        axes.plot(check.observed, row, "o", color=colour, label="observed" if first else None)
    axes.set_yticks(range(len(checks)), [check.label for check in reversed(checks)])
    axes.set_ylim(-0.6, len(checks) - 0.4)
    axes.set_xlabel(REWARD)
    axes.set_ylabel("")
    _legend(axes)
    return figure


def rewards_by_domain(fit: Fit) -> Figure | None:
    """Mean reward of each domain in each trial with random prompts; None where prompts have no domains.

    Trials of a group are left out: by how much a domain lies higher in them is not known.
    """
    records = [r for r in fit.records if r.domain_rewards and r.selection == "random" and not r.group]
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


def carried_over(tried: Sequence[Carried]) -> Figure:
    """Each other split's lead over the advised one, here (filled) and under each setting (hollow)."""
    rows = [(one.setting, lead) for one in tried for lead in one.leads]
    figure, axes = _canvas(height=1.2 + 0.45 * len(rows), label="", grid="x")
    looks = (
        ("in the study", COLOURS[0], "o", COLOURS[0]),
        ("under the other setting", COLOURS[1], "s", "white"),
    )
    for index, (_, lead) in enumerate(rows):
        for row, (label, colour, marker, face) in zip((-index + 0.12, -index - 0.12), looks, strict=True):
            mean, ends = (lead.here, lead.here_95) if face == colour else (lead.there, lead.there_95)
            axes.plot(ends, [row, row], color=colour, linewidth=1.4)
            named = None if index else label
            axes.plot(mean, row, marker, color=colour, markerfacecolor=face, label=named)
    axes.axvline(0, color="0.35", linewidth=1)
    axes.set_yticks([-i for i in range(len(rows))], [f"{setting}\n{lead.split}" for setting, lead in rows])
    axes.set_xlabel("lead over the advised split (reward)")
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
    forecast = predict(fit, splits, question.curve, own=False)
    low, high = (fit.scale.clip(end) for end in forecast.interval())
    colour, dash = COLOURS[index % 7], DASHES[index % 7]
    axes.fill_between(x, low, high, alpha=0.14, linewidth=0, color=colour)
    text = None if label is None else f"{label} responses"
    axes.plot(x, forecast.mean, linestyle=dash, linewidth=1.7, color=colour, label=text)


def _observed(axes: Axes, fit: Fit, labels: Split, index: int, against: str, past: NDArray[np.bool_]) -> None:
    """The trials with as many responses, labelled so; hollow where prompts were chosen, pale where `past`."""
    observed, k = fit.observed, labels.responses
    own = (observed.responses == k) & (observed.labelling == labels.labelling)
    noise, moved = observed.noise_variance or 0.0, _offsets(fit)
    colour, marker = COLOURS[index % 7], MARKERS[index % 7]
    if own.any():
        axes.plot([], [], marker, color=colour, label=f"{k} responses")
    looks = zip(observed.varied[own], past[own], observed.group[own], strict=True)
    for varied, beyond, group in sorted(set(looks)):
        here = own & (observed.varied == varied) & (past == beyond) & (observed.group == group)
        x: Floats = getattr(observed, against)[here]
        y, error = (observed.reward - moved)[here], np.sqrt(noise / observed.seeds[here])
        pale = PALE if beyond else 1.0
        axes.errorbar(x, y, error, fmt="none", color=colour, elinewidth=1, alpha=pale)
        axes.plot(x, y, marker, color=colour, alpha=pale, **_face(colour, varied, int(group)))
        if observed.earlier.any() and (new := ~observed.earlier[here]).any():
            axes.plot(x[new], y[new], marker, markerfacecolor="none", markeredgecolor="black", alpha=pale)


def _offsets(fit: Fit) -> Floats:
    """How much higher each trial lies than what is predicted, by its group; 0 where that is not known."""
    by_number = np.zeros(1 + len(fit.observed.others))
    for number, offset in enumerate(fit.offsets, 1):
        by_number[number] = offset.amount
    return np.asarray(by_number[fit.observed.group.astype(int)])


def _face(colour: str, varied: bool, group: int) -> dict[str, Any]:
    """How a marker is filled: hollow where prompts were chosen, half of it in a group (pale, if both)."""
    if not group:
        return {"markerfacecolor": "white" if varied else colour}
    face = {"markerfacecolor": "0.85" if varied else colour, "markerfacecoloralt": "white"}
    return {**face, "fillstyle": HALVES[(group - 1) % len(HALVES)]}


def _name_groups(figure: Figure, fit: Fit, moved: Sequence[str] = ()) -> None:
    """Below the axes, for each group: its half of a marker, whose trials these are, how they were `moved`."""
    handles = [
        Line2D([], [], marker="o", linestyle="", color=GREY, label=name, **_face(GREY, False, number))
        for number, name in enumerate(map(_short, groups_of(fit.records)), 1)
    ]
    for handle, how in zip(handles, moved, strict=False):
        handle.set_label(f"{handle.get_label()}: {how}")
    if handles:
        figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8.5)


def _short(name: str) -> str:
    """A long name without its middle: a path's end tells more than where it begins."""
    if len(name) <= NAME_LENGTH:
        return name
    return f"{name[: NAME_LENGTH // 4]}...{name[-(NAME_LENGTH - NAME_LENGTH // 4 - 3) :]}"


def _between(low: float, high: float, steps: int = STEPS) -> Floats:
    return np.unique(np.geomspace(max(low, 1), max(high, 1), steps).round())


def _spent(fit: Fit, question: Question) -> list[float]:
    """What the trials cost."""
    return [question.cost_model.of(record.split) for record in fit.records]


def _budget_fractions(fit: Fit, question: Question) -> Floats:
    budget_fractions = _spent(fit, question)
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
