"""The study's report: one HTML file that needs no network, and its pictures as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from base.files import write_whole
from search.advice.analysis import StudyAnalysis
from search.advice.cheapest import NoiseAdvice
from search.advice.prediction import verdict
from search.advice.recommendation import Recommendation
from search.advice.visits import Visits
from search.fit.curve import DiversityCurve
from search.fit.evidence import paper_mse
from search.fit.fit import Fit
from search.fit.forecast import format_probability
from search.fit.question import Question
from search.report import markup, plots, what_if
from search.report.carry_over import carry_over_section, reversals
from search.report.other_rewards import headlines, other_rewards
from search.trials.record import TrialRecord


def write_report(folder: Path, study: StudyAnalysis) -> Path:
    """Write report.html in `folder` and PNGs in `folder`/plots; returns the path of the HTML.

    The study must have a fit and a recommendation.
    """
    fit, recommendation, base_reward = study.fit, study.recommendation, study.base_reward
    assert fit is not None and recommendation is not None
    tried = fit.observed.levels
    best = recommendation.best
    within = tuple(range(tried[0], tried[-1] + 1))
    question = replace(study.question, responses=within, labellings=(best.labelling,))
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    draw = _Pictures(folder / "plots")
    body = [
        _answer(
            study.name,
            recommendation,
            base_reward,
            [*study.cautions(), *reversals(study.carried), *headlines(study)],
        ),
        markup.heading(f"Reward on diversity{_labelled(fit, recommendation)}"),
        markup.pictures(_by_size(draw, fit, question, base_reward)),
        *map(markup.paragraph, _readings(fit)),
        markup.heading("Splits of this budget"),
        markup.pictures(_by_split(draw, fit, question, recommendation, base_reward)),
        _split_table(recommendation),
        what_if.panel(fit, study.question, recommendation),
        markup.heading("What is paid for decides"),
        draw.one(plots.rewards_by_cost(recommendation), "cost_models", COST_CAPTION, wide=True),
        *_cost_lines(recommendation),
        markup.heading("Diversity of the pool"),
        markup.pictures(
            [draw.one(plots.diversity_by_prompts(fit, question), "diversity", _curve_caption(question.curve))]
        ),
        *_domains(draw, fit),
        *_predictions(draw, study),
        *carry_over_section(study.carried, draw.one),
        *other_rewards(study),
        *_noise(study.noise),
        markup.heading("Models compared"),
        *_models(fit),
        markup.heading("Trials"),
        _trial_table(study.records, fit, study.visits),
        markup.heading("What was assumed"),
        markup.bullets(
            [*recommendation.assumptions, *(f"{key}: {value}" for key, value in study.notes.items())]
        ),
    ]
    path = folder / "report.html"
    write_whole(path, markup.page(f"{study.name}: apportion", [part for part in body if part]))
    return path


MODELS_SHOWN, WEIGHTS_SHOWN, SPLITS_SHOWN = 16, 8, 24
COST_CAPTION = (
    "The same trials under other prices. Equal annotations and equal comparisons get what the recommended "
    "split costs under them."
)


CHOICE_CAPTION = (
    "The best split within this budget for each way of choosing the responses that are labelled, with its "
    "95% interval."
)


KIND_CAPTION = (
    "The best split within this budget for each kind of labels (people's, a judge's, or mixed with this "
    "share of people's), with its 95% interval."
)


class _Pictures:
    """Saves each figure beside the report and returns its HTML."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def one(self, figure: Figure | None, name: str, caption: str, wide: bool = False) -> str:
        if figure is None:
            return ""
        return markup.picture(plots.save(figure, self.folder / f"{name}.png"), caption, wide)


def _answer(name: str, answer: Recommendation, base_reward: float | None, others: Sequence[str]) -> str:
    best, runner, text = answer.best, answer.runner_up, answer.scale.text
    low, high = best.interval_95
    facts = [
        ("predicted reward", text(best.predicted_reward)),
        ("95% interval", f"{text(low)} to {text(high)}"),
        ("cost", f"{best.cost:,.10g} of {answer.budget:,.10g} {answer.unit}"),
    ]
    if runner is not None and answer.probability_better is not None:
        facts.append(
            (f"beats {runner.split}", f"with probability {format_probability(answer.probability_better)}")
        )
    if base_reward is not None:
        lift = text(best.predicted_reward - base_reward, sign=True)
        facts.append(("over the base model", f"{lift} (it has {text(base_reward)})"))
    facts.append(("trials, seeds", f"{answer.trials}, {answer.seeds} in all"))
    return (
        f'<h1>{escape(name)}</h1><div class="answer"><div class="split">{escape(answer.headline())}</div>'
        f"{markup.paragraph(answer.reading())}{markup.terms(facts)}</div>"
        f"{markup.bullets([*others, *answer.warnings()], 'warnings')}"
    )


def _labelled(fit: Fit, answer: Recommendation) -> str:
    """What the pictures keep to where several ways of labelling were tried."""
    how, parts = answer.best.labelling, list[str]()
    if len(fit.observed.rater_levels) > 1:
        parts.append(f"raters per response: {how.raters}")
    if len(fit.observed.choices) > 1:
        parts.append(f"choice of responses: {how.response_choice}")
    if len(fit.observed.kinds) > 1:
        parts.append(f"labels: {how.labels}")
    return f" ({', '.join(parts)})" if parts else ""


def _by_size(draw: _Pictures, fit: Fit, question: Question, base_reward: float | None) -> list[str]:
    text = (
        "Points: mean over seeds with standard error. Lines and bands: prediction and its 95% interval for "
        "random prompts (on diversity: for the fewest prompts that have it)."
    )
    if fit.offsets:
        text += (
            " Half-filled points: trials of a group, moved by as much as the fit puts them higher or lower, "
            "so that they stand beside the lines; the table of trials has their rewards as they were."
        )
    elif fit.observed.others.size:
        text += " Half-filled points: trials of a group, whose rewards may lie higher or lower as a whole."
    return [
        draw.one(plots.reward_by_size(fit, question, base_reward, against), f"reward_on_{against}", text)
        for against in ("diversity", "prompts")
    ]


def _readings(fit: Fit) -> list[str]:
    return [*fit.summary().splitlines(), fit.linear.verdict]


def _by_split(
    draw: _Pictures, fit: Fit, question: Question, answer: Recommendation, base_reward: float | None
) -> list[str]:
    split = (
        "The best split within this budget for each number of responses, and the one that spends it all; "
        "the recommended one on top."
    )
    over = (
        "Predicted reward over budget: each number of responses with all the prompts that it pays for, and "
        "the best split within the budget, which may leave some of it."
    )
    raters = (
        "The best split within this budget for each number of raters, with its 95% interval; more raters "
        "leave money for fewer prompts."
    )
    return [
        draw.one(plots.reward_by_split(answer, base_reward), "reward_by_split", split),
        draw.one(plots.reward_by_raters(answer), "reward_by_raters", raters),
        draw.one(plots.reward_by(answer, "response_choice"), "reward_by_choice", CHOICE_CAPTION),
        draw.one(plots.reward_by(answer, "labels"), "reward_by_labels", KIND_CAPTION),
        draw.one(plots.reward_by_budget(fit, question), "reward_by_budget", over),
    ]


def _split_table(answer: Recommendation) -> str:
    head = [
        "split", "cost", "diversity", "predicted", "95% interval", "best with probability",
        f"better by {answer.margin:.3g} with probability", "tried", "prompts / most tried",
    ]  # fmt: skip
    text = answer.scale.text
    rows = [
        [
            str(s.split),
            f"{s.cost:,.10g}",
            f"{s.diversity:.2f}",
            text(s.predicted_reward, more=1),
            f"{text(s.interval_95[0], more=1)} to {text(s.interval_95[1], more=1)}",
            format_probability(s.probability_best),
            "" if s is answer.best or not s.tried else format_probability(s.exceeds),
            "yes" if s.tried else "",
            f"{s.prompts_beyond:.2f}",
        ]
        for s in answer.splits[:SPLITS_SHOWN]
    ]
    left = len(answer.splits) - len(rows)
    more = markup.paragraph(f"{left} more are in recommendation.json.", "quiet") if left > 0 else ""
    return markup.table(head, rows, best=0) + more


def _cost_lines(answer: Recommendation) -> list[str]:
    return [markup.paragraph(view.sentence() + ".", "quiet") for view in answer.cost_models]


def _curve_caption(curve: DiversityCurve) -> str:
    end = f"{curve.prompts[-1]:,} prompts"
    if curve.growth <= 0:
        return f"Diversity over random prompts. At {end} it has stopped growing: more prompts lower D."
    return f"Diversity over random prompts. At {end} D grows as prompts to the power {curve.growth:.2f}."


def _domains(draw: _Pictures, fit: Fit) -> list[str]:
    text = "Mean reward by domain of the held-out prompts, one mark for each trial with random prompts."
    if fit.observed.others.size:
        text += " Trials of a group are left out."
    shown = draw.one(plots.rewards_by_domain(fit), "domains", text)
    return [markup.heading("By domain"), markup.pictures([shown])] if shown else []


def _noise(noise: NoiseAdvice | None) -> list[str]:
    """Where the noise of a trial comes from; nothing where seeds' rewards are not known prompt by prompt."""
    if noise is None:
        return []
    return [markup.heading("Where the noise comes from"), markup.bullets(noise.lines)]


def _predictions(draw: _Pictures, study: StudyAnalysis) -> list[str]:
    """What earlier trials predicted of the study's own, and what came; nothing without earlier trials."""
    if not study.checks:
        return []
    text = (
        "Dots: the mean reward of this study's own trainings. Lines: what the earlier trials alone predicted "
        "for it, with its 95% interval."
    )
    shown = draw.one(plots.predicted_and_observed(study.checks), "predictions", text)
    return [
        markup.heading("Predicted and observed"),
        markup.paragraph(verdict(study.checks)),
        markup.pictures([shown]),
        markup.bullets([f"{check.sentence()}." for check in study.checks]),
    ]


def _models(fit: Fit) -> list[str]:
    head = ["model", "coefficients", "left-out error", "AICc"]
    weights = {m.model.name: m.weight for m in fit.ensemble.members} if fit.ensemble else {}
    rows = [
        [
            r.model,
            str(r.coefficients),
            fit.scale.text(r.loo_rmse, more=1),
            _figure(r.aicc, ".1f"),
        ]
        for r in fit.table[:MODELS_SHOWN]
    ]
    lines = [
        "The prediction averages these models, each weighted by how well it predicts trials left out. "
        "Left-out error is a root mean square (reward); AICc compares fits, smaller is better. "
        f"The best {len(rows)} of {len(fit.table)} are shown; all are in fit.json.",
    ]
    if weights:
        heaviest = sorted(weights.items(), key=lambda item: -item[1])[:WEIGHTS_SHOWN]
        lines.append("Weights in the prediction: " + ", ".join(f"{n} {w:.2f}" for n, w in heaviest) + ".")
    mses = [(x, paper_mse(fit.observed, x)) for x in ("diversity", "log prompts", "prompts")]
    if all(mse is not None for _, mse in mses):
        shown = ", ".join(f"{x} {mse:.2g}" for x, mse in mses)
        lines.append(
            f"The way of Song et al., a line per k and its mean squared residual averaged over k: {shown}."
        )
    return [*map(markup.paragraph, lines), markup.table(head, rows)]


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _trial_table(records: Sequence[TrialRecord], fit: Fit, visits: Visits) -> str:
    """One row a trial; with visits per prompt where they differ, and where it was trained where that does."""
    made = visits if isinstance(visits, int | float) else 0
    uneven = bool(made) and len({record.prompts for record in records}) > 1
    elsewhere = any(record.earlier for record in records)
    rated = any(record.raters for record in records)
    chosen = any(record.response_choice != "random" for record in records)
    kinds = any(record.human_share is not None for record in records)
    baselines = sorted(fit.observed.baselines)
    noise = fit.observed.noise_variance
    head = [
        "trial",
        "prompts",
        "responses",
        *["raters"] * rated,
        *["response choice"] * chosen,
        *["labels"] * kinds,
        "selection",
        "cost",
        "diversity",
        "reward",
        "pooled s.e.",
        "seeds",
        *["visits per prompt"] * uneven,
        *["trained"] * elsewhere,
        *baselines,
    ]
    rows = [
        [
            r.trial,
            f"{r.prompts:,}",
            str(r.responses),
            *[str(r.raters or "")] * rated,
            *[r.response_choice] * chosen,
            *[r.labelling.labels] * kinds,
            r.selection + (f" {r.strength:g}" if r.strength else ""),
            f"{r.cost:,.10g}",
            f"{r.diversity:.3f}",
            fit.scale.text(r.reward, more=1),
            "" if noise is None else fit.scale.text(np.sqrt(noise / len(r.seeds)), more=1),
            str(len(r.seeds)),
            *[f"{made / r.prompts:.3g}"] * uneven,
            *[_trained(r)] * elsewhere,
            *(f"{r.baselines[name]:.4g}" for name in baselines),
        ]
        for r in records
    ]
    return markup.table(head, rows)


def _trained(record: TrialRecord) -> str:
    """Where a trial's seeds were trained."""
    sources = ", ".join(dict.fromkeys(record.earlier.values()))
    if not sources:
        return "here"
    apart = " (a group of its own)" if record.group else ""
    return f"earlier: {sources}{apart}" if record.is_earlier else f"here and earlier: {sources}"
