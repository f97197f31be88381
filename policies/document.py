"""What every document of ours has in common: its settings, its metadata, and the kinds of text and number in it.

``schema`` and ``cases`` build on it, and so does whatever else reads YAML of a user's. Knows no kind of document.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

API_VERSION = "muxel.dev/v1alpha1"

NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
SIZE = r"^[1-9]\d{0,4}x[1-9]\d{0,4}$"
ASPECT = r"^[1-9]\d{0,3}:[1-9]\d{0,3}$"
TASK = r"^[a-z][a-z0-9_]*$"
URL = r"^https?://[^/]+(/.*)?[^/]$"
SPELLING = {  # each pattern in words, for error messages
    NAME: "lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    SIZE: "a size such as 1024x1536",
    TASK: "lower-case letters, digits and '_', beginning with a letter",
    ASPECT: "an aspect such as 16:9",
    URL: "an http or https URL without a slash at its end",
}

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=253)]
Glob = Annotated[str, StringConstraints(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Dollars = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]
VideoResolution = Literal["360p", "480p", "540p", "720p", "768p", "1080p", "1440p", "2160p"]


class Document(BaseModel):
    """The settings of every model here: unknown keys are errors, keys are camelCase, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=False)


class Metadata(Document):
    name: Name
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
