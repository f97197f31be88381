"""Made-up traffic: a spec of shares, prompts with slots and choices -> rows of ``proxy.traffic``, the same every time.

A few pages of YAML instead of megabytes of near-duplicates. ``verbs.replay`` reads the shipped specs and a user's own
with it. Does no IO, and draws from nothing but the seed of the spec.
"""

from collections.abc import Iterator, Mapping
from random import Random
from string import Formatter
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from adapters.ir import InvalidRequest
from policies.document import Document, Dollars
from policies.parse import Path, parse
from policies.problems import ConfigError, Problem
from policies.validate import validate
from proxy.traffic import read_row

Words = Annotated[tuple[str, ...], Field(min_length=1)]
Value = str | int | float | bool


class Group(Document):
    """One kind of request. ``request`` has the keys of a line that are the same for all, ``vary`` the choices for the
    others, each as likely as the next; a choice given twice is twice as likely."""

    app: str = Field(min_length=1)
    share: float = Field(gt=0, le=1, description="of all requests; the shares of a spec add up to one")
    prompts: tuple[str, ...] = Field((), description="with slots such as {product}")
    request: dict[str, Value] = Field({})
    vary: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = Field({})


class Traffic(Document):
    """``baseline`` is what each picture cost before, where the case says so."""

    about: str = Field(min_length=1, description="one line for the report")
    seed: int
    requests: int = Field(ge=1, le=10_000_000)
    baseline: Dollars | None = None
    slots: dict[str, Words] = Field({})
    groups: tuple[Group, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_whole(self) -> "Traffic":
        if abs(sum(group.share for group in self.groups) - 1) > 1e-6:
            raise PydanticCustomError("shares", "has shares that do not add up to one")
        used = {slot for group in self.groups for prompt in group.prompts for slot in _slots(prompt)}
        if unknown := sorted(used - self.slots.keys()):
            raise PydanticCustomError("slots", "has prompts with unknown slots: {names}", {"names": ", ".join(unknown)})
        return self


def read_spec(file: str, content: bytes) -> Traffic:
    """The one document of a spec. Raises ConfigError with every problem at its line and column."""
    parsed = parse(file, content)
    if parsed.problems or len(parsed.documents) != 1:
        raise ConfigError(parsed.problems or [Problem(file, 1, 1, "must be one document of traffic")])
    [document] = parsed.documents
    spec = validate(document, Traffic)
    if isinstance(spec, list):
        raise ConfigError(spec)
    if problems := [document.problem(path, message) for path, message in _misfits(spec)]:
        raise ConfigError(problems)
    return spec


def _misfits(spec: Traffic) -> Iterator[tuple[Path, str]]:
    """What of a group cannot stand in a row, and where it is."""
    for index, group in enumerate(spec.groups):
        row = {**group.request, **({"prompt": group.prompts[0]} if group.prompts else {})}
        choices = [(("vary", key), {key: value}) for key, values in group.vary.items() for value in values]
        for path, choice in [(("request",), {}), *choices]:
            try:
                read_row({**row, **choice})
            except InvalidRequest as error:
                yield ("groups", index, *path), error.message
                if not choice:
                    break  # the rows of the choices have the same fault


def rows(spec: Traffic) -> Iterator[dict[str, Any]]:
    """``spec.requests`` rows, the groups mixed in exactly their shares."""
    chance = Random(spec.seed)
    order = [group for group, count in zip(spec.groups, _counts(spec), strict=True) for _ in range(count)]
    chance.shuffle(order)
    for group in order:
        row: dict[str, Any] = {"app": group.app, **group.request}
        row.update((key, chance.choice(choices)) for key, choices in group.vary.items())
        if group.prompts:
            row["prompt"] = _filled(chance.choice(group.prompts), spec.slots, chance)
        yield row


def _counts(spec: Traffic) -> list[int]:
    """Whole requests for each group: what rounding down leaves goes to the largest remainders."""
    exact = [spec.requests * group.share for group in spec.groups]
    counts = [int(share + 1e-6) for share in exact]
    remainders = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in remainders[: spec.requests - sum(counts)]:
        counts[index] += 1
    return counts


def _slots(prompt: str) -> list[str]:
    return [slot for _, slot, _, _ in Formatter().parse(prompt) if slot is not None]


def _filled(prompt: str, slots: Mapping[str, tuple[str, ...]], chance: Random) -> str:
    """Each slot of a prompt on its own: two of one name may differ."""
    return "".join(
        text + (chance.choice(slots[slot]) if slot is not None else "")
        for text, slot, _, _ in Formatter().parse(prompt)
    )
