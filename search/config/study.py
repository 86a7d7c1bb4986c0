"""The configuration of a study: one frozen tree, read from YAML and overridden field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from base.errors import ConfigError
from base.settings import Settings
from metrics.config import DiversityConfig, RewardConfig
from pools.config import PoolConfig
from pools.response_choice import BY_JUDGE, ResponseChoice
from search.cluster.config import ClusterConfig
from search.config.cost import PLAIN, CostModel, Labelling
from search.config.hyperparameters import Choices, Range, Scalar, applied, domains
from search.config.transfer import TransferConfig
from search.tracking.config import TrackingConfig
from trainers.config.trainer import (
    CheckpointConfig,
    EvaluationConfig,
    ModelConfig,
    ResourcesConfig,
    TrainerConfig,
)

Selection = Literal["random", "diverse", "narrow"]
LabelKind = Literal["human", "judge", "mixed"]


def as_list(value: object) -> object:
    """A single text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


class SearchConfig(Settings):
    """Which points are tried, how often, and when that is enough."""

    plan: Literal["adaptive", "grid"] = Field(
        "adaptive",
        description="adaptive: pilot, Optuna, confirmation, until decided; grid: every point once, in order",
    )
    responses: tuple[int, ...] = Field(
        (2, 3, 4), min_length=1, description="responses per prompt to try (responses)"
    )
    raters: tuple[int, ...] = Field(
        (),
        description="raters per response to try: trials train on the labels that so many would give (empty: "
        "the pool's scores as they are, and cost.raters are paid for) (raters)",
    )
    agreement: float | None = Field(
        None,
        gt=0.5,
        le=1,
        description="assumed share of pairs that one rater orders as the pool's scores do (none: the "
        "ratings of single raters in the pool)",
    )
    response_choices: tuple[ResponseChoice, ...] = Field(
        ("random",),
        min_length=1,
        description="ways of choosing the responses that are labelled: random; spread (they stand for all); "
        "close, far (margins by the pool's judge_score)",
    )
    labels: tuple[LabelKind, ...] = Field(
        (),
        description="kinds of labels to try: human (the pool's score), judge (its judge_score), mixed "
        "(people where the judge is least sure); empty: the pool's scores as they are",
    )
    human_share: float = Field(
        0.5, gt=0, lt=1, description="share of prompts that people label where labels are mixed"
    )
    budget_fractions: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0),
        min_length=1,
        description="shares of the budget to spend; several of them give the fit its line",
    )
    selections: tuple[Selection, ...] = Field(
        ("random",), min_length=1, description="ways of drawing prompts: random, diverse, narrow"
    )
    strengths: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="how far diverse and narrow depart from a random draw (0 to 1)"
    )
    space: dict[str, Range | tuple[Scalar, ...]] = Field(
        {}, description="trainer fields to search as well: {trainer.field: [a, b] or {low, high, log}}"
    )
    earlier: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (),
        description="trials made elsewhere to go on from: study folders, CSV files with a YAML beside them, "
        "or studies/... that ship",
    )
    earlier_group: Literal["same", "own"] = Field(
        "same",
        description="same: earlier trials must agree in all that a reward depends on; own: each source may "
        "lie higher or lower as a whole",
    )
    prior: Literal["none", "studies"] = Field(
        "none",
        description="none: these trials alone; studies: past studies are one more model of the fit",
    )
    trials: int = Field(24, ge=1, description="most trials of the study (trials)")
    tune: Literal["once", "per_split"] = Field(
        "once",
        description="once: the fields in search.space are tuned at one split; per_split: also at the best "
        "split and the runner-up, each of which is then judged at its own best by further seeds",
    )
    hyperparameter_trials: int = Field(
        8,
        ge=1,
        description="trials that Optuna spends on the fields in search.space, at each split that is tuned "
        "(trials)",
    )
    proposals: int = Field(
        2, ge=0, description="trials that Optuna proposes at the whole budget after the pilot (trials)"
    )
    seeds: int = Field(
        2, ge=1, description="trainings of a trial, each with its own draw of prompts and order (seeds)"
    )
    sampler: Literal["tpe", "gp", "random"] = Field("tpe", description="Optuna's sampler: tpe, gp, random")
    storage: str = Field(
        "",
        description="URL of Optuna's database, $NAMES taken from the environment; empty: optuna.db in the "
        "study's folder",
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="how sure the study must be before it stops (probability)"
    )
    practical_margin: float = Field(
        0.002,
        ge=0,
        lt=1,
        description="a difference that does not matter; splits within it count as equal",
    )
    max_tokens: int | None = Field(None, gt=0, description="most trained tokens of all trials (tokens)")
    max_hours: float | None = Field(
        None, gt=0, description="most time of all trials, each counted in full (hours)"
    )
    max_cost: float | None = Field(
        None, gt=0, description="most that all trials may cost (unit of price_per_hour)"
    )
    price_per_hour: float = Field(0, ge=0, description="price of one running trial (money per hour)")
    max_concurrent: int = Field(
        0, ge=0, description="trials at the same time; 0: as many as the cluster holds (trials)"
    )

    @model_validator(mode="after")
    def _values_in_range(self) -> SearchConfig:
        for name, low, high in (
            ("responses", 1, 1_000),
            ("budget_fractions", 1e-6, 1.0),
            ("strengths", 1e-6, 1.0),
            ("raters", 1, 1_000),
        ):
            values = getattr(self, name)
            if wrong := [value for value in values if not low <= value <= high]:
                raise ConfigError(
                    f"search.{name} holds {wrong[0]}; every value lies between {low} and {high}"
                )
            if len(set(values)) < len(values):
                raise ConfigError(f"search.{name} lists a value twice: {list(values)}")
        if len(set(self.response_choices)) < len(self.response_choices):
            raise ConfigError(
                f"search.response_choices lists a value twice: {', '.join(self.response_choices)}"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ConfigError(f"search.labels lists a value twice: {', '.join(self.labels)}")
        if "random" not in self.response_choices:
            raise ConfigError(
                f"search.response_choices is {', '.join(self.response_choices)}, without random: another is "
                "recommended only where it is surely better than random, so add that"
            )
        if self.tune == "per_split" and (not self.space or self.plan == "grid"):
            raise ConfigError(
                'search.tune is "per_split", which needs fields in search.space and search.plan "adaptive"'
            )
        if self.max_cost and not self.price_per_hour:
            raise ConfigError(f"search.max_cost is {self.max_cost:g}, but search.price_per_hour is 0")
        return self


class StudyConfig(Settings):
    """Everything a study depends on."""

    name: str = Field(
        "study", pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the study and of its folder"
    )
    budget: float = Field(gt=0, description="what may be spent on labels (in the unit of the cost model)")
    seed: int = Field(0, ge=0, description="seed of everything random in the study")
    cost: CostModel = CostModel()
    pool: PoolConfig
    model: ModelConfig = ModelConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    reward: RewardConfig = RewardConfig()
    further_rewards: tuple[RewardConfig, ...] = Field(
        (),
        description="reward models that judge the same answers and decide nothing; the same as a list in "
        "`reward`, whose first entry decides",
    )
    dev_reward: RewardConfig | None = Field(
        None, description="reward model that judges dev prompts, a mapping as `reward` (none: the same model)"
    )
    checkpoints: CheckpointConfig = CheckpointConfig()
    diversity: DiversityConfig = DiversityConfig()
    search: SearchConfig = SearchConfig()
    transfer: TransferConfig = TransferConfig()
    resources: ResourcesConfig = ResourcesConfig()
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="before")
    @classmethod
    def _first_reward_decides(cls, tree: Any) -> Any:
        """`reward` may be a list: its first entry decides, the others are `further_rewards`."""
        if not isinstance(tree, dict) or not isinstance(tree.get("reward"), list | tuple):
            return tree
        first, *others = tree["reward"] or [None]
        if first is None:
            raise ConfigError("reward is an empty list: give one or more reward models, the first decides")
        if tree.get("further_rewards"):
            raise ConfigError(
                "reward is a list and further_rewards is given too: put all of them into the list"
            )
        return {**tree, "reward": first, "further_rewards": others}

    @property
    def rewards(self) -> tuple[RewardConfig, ...]:
        """Every reward model that judges held-out answers, the deciding one first."""
        return (self.reward, *self.further_rewards)

    @model_validator(mode="after")
    def _rewards_differ(self) -> StudyConfig:
        names = [one.source for one in self.rewards]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"reward lists {twice} twice: each reward model judges once")
        return self

    @property
    def raters(self) -> tuple[int | None, ...]:
        """Raters per response to try, fewest first; None alone: trials take the pool's scores as they are."""
        if self.search.raters:
            return tuple(sorted(self.search.raters))
        return (None,) if self.search.agreement is None else (self.cost.raters,)

    @property
    def labellings(self) -> tuple[Labelling, ...]:
        """Every way of labelling to try, the plainest first."""
        of_kind = {"human": 1.0, "mixed": self.search.human_share, "judge": 0.0}
        shares: list[float | None] = [of_kind[kind] for kind in self.search.labels]
        found = (
            Labelling(raters, choice, human_share)
            for human_share in shares or [None]
            for raters in ((None,) if human_share == 0 else self.raters)
            for choice in self.search.response_choices
        )
        return tuple(sorted(found, key=lambda one: one.rank))

    @model_validator(mode="after")
    def _labelling_agrees(self) -> StudyConfig:
        if self.search.prior == "studies" and self.labellings != (PLAIN,):
            raise ConfigError(
                'search.prior is "studies", which knows nothing of raters, response choices and kinds of '
                "labels: leave search.raters, agreement, response_choices and labels out, or set "
                "search.prior: none"
            )
        self._kinds_agree()
        for choice in self.search.response_choices:
            if not self.cost.generated and (price := self.cost.price_of_candidates(choice)):
                raise ConfigError(
                    f'search.response_choices holds "{choice}", and {price} is not 0: say in cost.generated '
                    "how many candidates a prompt has to choose from, since all of them are paid for"
                )
        return self

    def _kinds_agree(self) -> None:
        labels = self.search.labels
        if "mixed" in labels and not {"human", "judge"} <= set(labels):
            raise ConfigError(
                f"search.labels is {', '.join(labels)}: a mixture is shown beside labels all by people and "
                "all by the judge, so name human, judge and mixed"
            )
        if not {"judge", "mixed"} & set(labels):
            return
        if not self.cost.per_judged:
            raise ConfigError(
                f"search.labels is {', '.join(labels)}, but cost.per_judged is 0: say what a judge's score "
                "of one response costs"
            )
        if judged := [choice for choice in self.search.response_choices if choice in BY_JUDGE]:
            raise ConfigError(
                f'search.response_choices holds "{judged[0]}", which goes by the judge\'s scores, and '
                f"search.labels holds {labels[-1]}, whose labels those are: leave one of them out"
            )

    @model_validator(mode="after")
    def _sections_agree(self) -> StudyConfig:
        searched = domains(self.search.space, self.trainer).get("trainer.algorithm.name")
        names = searched.values if isinstance(searched, Choices) else (self.trainer.algorithm.name,)
        names = (*names, *self.transfer.algorithms)
        for algorithm in (
            applied(self.trainer, {"trainer.algorithm.name": name}).algorithm for name in names
        ):
            if min(self.search.responses) < algorithm.min_responses:
                raise ConfigError(
                    f"search.responses holds {min(self.search.responses)}, but trainer.algorithm.name "
                    f'"{algorithm.name}" needs at least {algorithm.min_responses} responses per prompt'
                )
        self.transfer.check(self.model.name, self.trainer)
        if self.tracking.register_as and self.checkpoints.keep_policies == "none":
            raise ConfigError(
                f'tracking.register_as is "{self.tracking.register_as}", but checkpoints.keep_policies is '
                '"none": choose best or all, so that there is a policy to register'
            )
        if self.trainer.offload != "none" and not self.resources.gpus_per_worker:
            raise ConfigError(
                f'trainer.offload is "{self.trainer.offload}", but resources.gpus_per_worker is 0: '
                "without GPUs all is in CPU memory already"
            )
        stages = domains(self.search.space, self.trainer).get("trainer.zero_stage")
        if self.evaluation.engine == "vllm" and (stages.holds(3) if stages else self.trainer.zero_stage == 3):
            raise ConfigError(
                'evaluation.engine is "vllm", but trainer.zero_stage is 3, under which no worker holds the '
                "whole weights: take engine own, or a stage from 0 to 2"
            )
        if self.trainer.batch_prompts < self.resources.workers:
            raise ConfigError(
                f"trainer.batch_prompts is {self.trainer.batch_prompts}, fewer than resources.workers "
                f"({self.resources.workers}): each worker needs a prompt in every step"
            )
        if self.dev_reward is not None:
            self._dev_reward_is_used(self.dev_reward)
        return self

    def _dev_reward_is_used(self, dev: RewardConfig) -> None:
        if not self.evaluation.every:
            raise ConfigError(
                "dev_reward is given, but evaluation.every is 0 and nothing is judged on dev prompts: "
                "set evaluation.every and evaluation.dev_prompts, or leave dev_reward out"
            )
        if dev.kind == self.reward.kind == "fitted":
            raise ConfigError(
                'dev_reward.kind and reward.kind are both "fitted", which is one and the same model: '
                "leave dev_reward out, or choose another kind"
            )
        if dev.kind == "fitted" and any(one.kind == "fitted" for one in self.further_rewards):
            raise ConfigError(
                'dev_reward.kind and one of further_rewards are both "fitted": one model is fitted in a study'
            )
