"""The study's report: one HTML file that needs no network, and its pictures as PNG."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from search.budget import CostModel
from search.curve import DiversityCurve
from search.fit import Fit
from search.plots import reward_by_size, save
from search.recommend import Recommendation
from search.record import TrialRecord


def write_report(
    folder: Path,
    *,
    name: str,
    records: Sequence[TrialRecord],
    fit: Fit,
    recommendation: Recommendation,
    curve: DiversityCurve,
    base_reward: float | None,
    cost_model: CostModel,
    notes: Mapping[str, str],
) -> Path:
    """Write report.html in `folder` and PNGs in `folder`/plots; returns the path of the HTML."""
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    pictures = [
        save(reward_by_size(fit, curve, base_reward, "diversity"), plots / "reward_on_diversity.png"),
        save(reward_by_size(fit, curve, base_reward, "prompts"), plots / "reward_on_prompts.png"),
    ]
    body = [f"<h1>{escape(name)}</h1><p>{escape(recommendation.sentence())}</p>"]
    body += [f'<img alt="{p.stem}" src="data:image/png;base64,{_encoded(p)}">' for p in pictures]
    body += [f"<pre>{escape(fit.summary())}</pre>"]
    path = folder / "report.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>{escape(name)}</title>{''.join(body)}", "utf-8"
    )
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
