"""The `pool` section of a study's configuration."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from base.settings import Settings
from pools.files import refuse_credential
from pools.formats.columns import Columns

Format = Literal[
    "auto",
    "pool",
    "hh_rlhf",
    "ultrafeedback",
    "nectar",
    "shp",
    "prefix",
    "preference",
    "prompts",
    "scored",
    "objects",
    "rated",
    "rated_dialogue",
    "best_of",
    "named_pair",
    "named_winner",
    "summary_ratings",
    "argilla_ratings",
    "helpsteer2_preference",
    "helpsteer3",
    "pku_saferlhf",
    "arena",
    "arena_votes",
    "webgpt",
    "summaries",
    "openai",
    "oasst",
    "argilla",
    "label_studio",
]


class PoolConfig(Settings):
    """Where the prompts and scored responses come from, which are held out, and what happens to bad rows."""

    path: str = Field(
        "demo",
        description="pool: a .jsonl, .jsonl.gz or .parquet file, a folder of them, a pattern such as "
        "'pool/*.parquet', any of these in an object store (s3://, gs://), a saved Hugging Face data set "
        "(folder), a hub id such as Anthropic/hh-rlhf, or demo, the pool that ships with the project",
    )
    format: Format = Field("auto", description="shape of the rows; auto detects it from each row's columns")
    columns: Columns = Columns()
    score: dict[str, float] = Field(
        {},
        description="attributes and weights whose sum is the score, as {helpfulness: 1, correctness: 0.5}",
    )
    split: str = Field("train", description="which split of a Hugging Face data set is the pool")
    subset: str = Field("", description="which configuration of a Hugging Face data set (empty: its default)")
    held_out_path: str = Field("", description="second pool file or data set whose prompts are held out")
    held_out_split: str = Field("", description="split of the same Hugging Face data set that is held out")
    held_out_prompts: int | None = Field(
        None,
        ge=1,
        description="how many prompts are held out (count), taken in the seeded order from those marked held "
        "out or, where none is marked, from the whole pool (none: all that are marked)",
    )
    min_responses: int = Field(
        1,
        ge=0,
        description="train prompts with fewer good responses are left out (count); a study raises it to the "
        "most responses a prompt that it tries",
    )
    on_bad_row: Literal["drop", "refuse"] = Field(
        "drop", description="drop: leave bad rows and responses out, counted in the report; refuse: stop"
    )
    stream_above: float = Field(
        1024,
        ge=0,
        description="a larger pool stays on disk, in the study's folder, and a trial reads its own prompts "
        "of it (MiB, uncompressed)",
    )
    name: str = Field("", description="name in reports (empty: the file's own, or its file name)")

    # Checked as a whole, and input hidden: an error about a field quotes it, which here might be a key.
    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="after")
    def _no_credential(self) -> Self:
        for name in ("path", "held_out_path"):
            refuse_credential(getattr(self, name), f"pool.{name}")
        return self

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        if self.columns.given and self.format != "auto":
            raise ValueError(
                f"columns say how rows are read, and format is {self.format!r}: leave one of them out"
            )
        if self.columns.scores and self.score:
            raise ValueError(
                "columns.scores and score both say where scores come from: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _one_held_out_source(self) -> Self:
        if self.held_out_path and self.held_out_split:
            raise ValueError(
                f"held_out_path {self.held_out_path!r} and held_out_split {self.held_out_split!r} exclude "
                "each other: give one of them"
            )
        return self
