"""What people would use instead of the plan: botorch and Ax, which run in an environment of their own.

Both maximise reward over responses and budget fraction and are told one seed's reward at a time. Both are
asked for the best posterior mean among the splits that may be answered.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from ax.api.client import Client  # type: ignore[import-not-found]
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig  # type: ignore[import-not-found]
from ax.exceptions.core import UnsupportedError
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim.optimize import optimize_acqf_discrete
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from search.plan.space import Space
from search.trials.design_point import DesignPoint

# Points that botorch draws at random before its first model; Ax decides itself.
DRAWN = 5


class BoTorch:
    """A Gaussian process on the logarithms of responses and fraction, and noisy expected improvement.

    Its points are those of the grid, any of which may be tried again.
    """

    def __init__(self, space: Space, seed: int) -> None:
        torch.manual_seed(seed)
        warnings.simplefilter("ignore", NumericalWarning)  # of jitter, at every other step
        self._points = space.grid()
        self._tried: list[DesignPoint] = []
        self._rewards: list[float] = []
        self._model: SingleTaskGP | None = None

    def ask(self) -> DesignPoint:
        if self._model is None:
            return self._points[int(torch.randint(len(self._points), ()))]
        improvement = qLogNoisyExpectedImprovement(self._model, self._at(self._tried), prune_baseline=True)
        found, _ = optimize_acqf_discrete(improvement, q=1, choices=self._at(self._points))
        return self._points[int((self._at(self._points) - found).abs().sum(dim=1).argmin())]

    def tell(self, point: DesignPoint, reward: float) -> None:
        self._tried.append(point)
        self._rewards.append(reward)
        if len(self._tried) >= DRAWN:
            rewards = torch.tensor(self._rewards, dtype=torch.double)[:, None]
            self._model = SingleTaskGP(self._at(self._tried), rewards)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(self._model.likelihood, self._model))

    def best(self, among: Sequence[DesignPoint]) -> DesignPoint | None:
        if self._model is None:
            return None
        with torch.no_grad():
            means = self._model.posterior(self._at(among)).mean
        return among[int(means.argmax())]

    def _at(self, points: Sequence[DesignPoint]) -> Tensor:
        """Coordinates between 0 and 1, [points, 2]."""
        columns = []
        for name in ("responses", "budget_fraction"):
            low, high = (math.log(end(getattr(p, name) for p in self._points)) for end in (min, max))
            columns.append([(math.log(getattr(p, name)) - low) / (high - low) for p in points])
        return torch.tensor(columns, dtype=torch.double).T


class Ax:
    """Ax's client as it comes.

    It tries no arm twice, so the budget fraction may be any between the grid's: the grid's points alone
    would be used up before their noise is averaged out.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._number = space, -1
        fractions = sorted({one for found in space.fractions.values() for one in found})
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(
            parameters=[
                ChoiceParameterConfig(
                    name="responses", values=sorted(space.fractions), parameter_type="int", is_ordered=True
                ),
                RangeParameterConfig(
                    name="budget_fraction",
                    bounds=(fractions[0], fractions[-1]),
                    parameter_type="float",
                    scaling="log",
                ),
            ]
        )
        self._client.configure_optimization(objective="reward")

    def ask(self) -> DesignPoint:
        ((self._number, found),) = self._client.get_next_trials(max_trials=1).items()
        return self._space.point(int(found["responses"]), float(found["budget_fraction"]))

    def tell(self, point: DesignPoint, reward: float) -> None:
        self._client.complete_trial(self._number, raw_data={"reward": reward})

    def best(self, among: Sequence[DesignPoint]) -> DesignPoint | None:
        """None before Ax has a model."""
        at = [{"responses": p.responses, "budget_fraction": p.budget_fraction} for p in among]
        try:
            means = [found["reward"][0] for found in self._client.predict(at)]
        except UnsupportedError:
            return None
        return among[means.index(max(means))]


PEERS = {"botorch": BoTorch, "ax": Ax}
