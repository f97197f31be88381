"""Arena rows of a feed against the quality of a catalog: which scores change, and which not.

``refresh`` calls ``rescore``; the arithmetic is that of ``scores``. A score is computed from all categories of its task
or not at all. What was set by a model's nearest relative follows the relative, until the model itself is measured.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from policies import supply
from policies.feeds import ScoreRow
from policies.scores import Basis, Citation, Measure, Standard, cite, grade, pool, read_citation, whole
from policies.verdicts import Bounds, Place, Verdicts


@dataclass(frozen=True, slots=True)
class ScoreChange:
    model: str
    task: str
    old: supply.Score | None
    new: supply.Score


@dataclass(frozen=True, slots=True)
class Anchor:
    """A reference that follows its panel: the arena anchored these categories anew."""

    board: str
    categories: tuple[str, ...]
    old: int
    new: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What the feed says for one score: the measure, and the rows it is of."""

    citation: Citation
    measure: Measure
    estimated: bool
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True, slots=True)
class _Arena:
    """The newest row for each model in each category of each board; ``used`` are the places of those that told."""

    standard: Standard
    ids: Mapping[str, str]  # whatever a model may be called, in lower case -> its id
    rows: Mapping[tuple[str, str, str], ScoreRow]
    used: set[Place]

    def subject(self, name: str, board: str) -> str:
        """The id of the model of this name; a model the catalog has not is called as it is."""
        known = self.ids.get(name.lower()) or self.standard.boards[board].names.get(name)
        return known or self.standard.names.get(name, name)

    def look(self, subject: str, board: str, categories: Iterable[str]) -> tuple[ScoreRow, ...]:
        """The row of each category; none at all where one is missing."""
        rows = tuple(self.rows.get((board, subject, category)) for category in categories)
        found = tuple(row for row in rows if row)
        return found if len(found) == len(rows) else ()

    def reference(self, basis: Basis) -> int:
        """That of the table, unless the whole panel is here and has moved."""
        panel = [
            self.look(self.subject(name, basis.board), basis.board, basis.categories)
            for name in self.standard.boards[basis.board].panel
        ]
        if not all(panel):
            return basis.reference
        self.used.update(row.place for rows in panel for row in rows)
        mean = pool([pool([row.measure for row in rows if row.measure]) for rows in panel]).elo
        return whole(mean) if abs(mean - basis.reference) > self.standard.drift else basis.reference


def rescore(
    rows: Iterable[ScoreRow],
    models: Sequence[supply.Model],
    standard: Standard,
    own: Mapping[str, str],
    bounds: Bounds,
    verdicts: Verdicts,
) -> tuple[list[ScoreChange], list[Anchor]]:
    """The changes in the order of ids and tasks, and the references that moved. ``own`` are models that are not to be
    touched and where they are defined."""
    ids = {name.lower(): model.id for model in models for name in (*model.aliases, model.id)}
    arena = _Arena(standard, ids, {}, set())
    arena = _Arena(standard, ids, _by_category(rows, arena, models, bounds, verdicts), set())
    references = {basis: arena.reference(basis) for bases in standard.tasks.values() for basis in bases}
    changes = []
    for model in sorted(models, key=lambda model: model.id):
        for task, bases in standard.tasks.items():
            found = _find(model, task, bases, arena, references)
            if found is None:
                continue
            arena.used.update(row.place for row in found.rows)
            verdicts.named.add(model.id)
            if place := own.get(model.id):
                verdicts.miss(found.rows[0].place, f"model {model.id}, which is yours at {place}: change it there")
            elif change := _change(model, task, found, bounds, verdicts):
                changes.append(change)
    _tell_idle(arena, models, verdicts)
    moved = [
        Anchor(basis.board, basis.categories, basis.reference, new)
        for basis, new in references.items()
        if new != basis.reference
    ]
    return changes, moved


# ------------------------------------------------------------------------------------------------------------ the rows


def _by_category(
    rows: Iterable[ScoreRow], arena: _Arena, models: Sequence[supply.Model], bounds: Bounds, verdicts: Verdicts
) -> dict[tuple[str, str, str], ScoreRow]:
    standard = arena.standard
    wanted = {(basis.board, name) for bases in standard.tasks.values() for basis in bases for name in basis.categories}
    panels = {arena.subject(name, key) for key, board in standard.boards.items() for name in board.panel}
    heard = {model.id for model in models} | panels | _relatives(arena, models)
    said: dict[tuple[str, str, str], list[ScoreRow]] = defaultdict(list)
    for row in rows:
        board = row.board if row.board in standard.boards else "" if row.board else standard.board_of(row.source)
        subject = arena.subject(row.model, board) if board else ""
        if not board:
            verdicts.miss(row.place, f"board {row.board or row.source}")
        elif subject not in heard:
            verdicts.miss(row.place, f"model {row.model}")
        elif (board, row.category) not in wanted:
            verdicts.miss(row.place, f"category {row.category} of {board}")
        elif row.measure is None:
            verdicts.refuse(row.place, row.model, row.fault)
        elif row.date > bounds.today:
            verdicts.refuse(row.place, row.model, f"date {row.date} is in the future")
        else:
            said[board, subject, row.category].append(row)
    return {key: newest for key, group in said.items() if (newest := _newest(group, verdicts))}


def _relatives(arena: _Arena, models: Iterable[supply.Model]) -> set[str]:
    cited = (read_citation(score.source) for model in models for score in model.quality.values())
    return {arena.subject(one.relative, one.board) for one in cited if one and one.relative}


def _newest(rows: Sequence[ScoreRow], verdicts: Verdicts) -> ScoreRow | None:
    """The last of the newest day; None where that day says two things."""
    day = max(row.date for row in rows)
    newest = [row for row in rows if row.date == day]
    verdicts.superseded += len(rows) - len(newest)
    if all(row.measure == newest[0].measure for row in newest):
        verdicts.superseded += len(newest) - 1
        return newest[0]
    lines = ", ".join(f"line {row.place.line}" for row in newest)
    for row in newest:
        verdicts.refuse(row.place, row.model, f"{lines} of one day say different scores in {row.category}")
    return None


def _tell_idle(arena: _Arena, models: Iterable[supply.Model], verdicts: Verdicts) -> None:
    """Rows that are about a model and a category we know, and still told nothing."""
    known = {model.id for model in models}
    for (board, subject, category), row in arena.rows.items():
        if row.place not in arena.used:
            whose = f"model {subject}" if subject in known else f"model {row.model}, a relative or of the panel"
            verdicts.miss(row.place, f"{whose}: no score of it follows from {category} of {board} in this feed")


# ---------------------------------------------------------------------------------------------------------- the scores


def _find(
    model: supply.Model, task: str, bases: Sequence[Basis], arena: _Arena, references: Mapping[Basis, int]
) -> _Found | None:
    """By what the model itself was measured at, else by what the relative was that its score is from."""
    old = model.quality.get(task)
    citation = read_citation(old.source) if old else None
    for basis in _about(model, bases, arena.standard):
        if rows := arena.look(model.id, basis.board, basis.categories):
            return _found(basis, rows, "", 0, references)
        if citation is None or (citation.board, citation.categories) != (basis.board, basis.categories):
            continue
        if not citation.relative:
            return None  # the basis it has is the better one, and not in this feed
        if rows := arena.look(arena.subject(citation.relative, basis.board), basis.board, basis.categories):
            return _found(basis, rows, citation.relative, citation.offset, references)
        return None
    return None


def _about(model: supply.Model, bases: Sequence[Basis], standard: Standard) -> Sequence[Basis]:
    """The bases on the first board that is about what the model does: a task has one score."""
    boards = [basis.board for basis in bases if standard.boards[basis.board].does & set(model.operations)]
    return [basis for basis in bases if basis.board in boards[:1]]


def _found(
    basis: Basis, rows: tuple[ScoreRow, ...], relative: str, offset: int, references: Mapping[Basis, int]
) -> _Found:
    measure = pool([row.measure for row in rows if row.measure])
    citation = Citation(
        basis.board, basis.categories, relative, offset,
        elo=whole(measure.elo + offset), half=whole(measure.half), reference=references[basis],
    )  # fmt: skip
    return _Found(citation, measure, basis.transferred or bool(relative), rows)


def _change(
    model: supply.Model,
    task: str,
    found: _Found,
    bounds: Bounds,
    verdicts: Verdicts,
) -> ScoreChange | None:
    cited = found.citation
    score, p25 = grade(cited.elo, cited.half, cited.reference, estimated=found.estimated)
    old = model.quality.get(task)
    if old and (old.score, old.p25, old.estimated) == (score, p25, found.estimated):
        verdicts.confirmed += 1
        return None
    day = min(row.date for row in found.rows)
    facts: dict[str, object] = {"score": score, "p25": p25, "source": cite(cited), "asOf": day}
    if found.estimated:
        facts["estimated"] = True
    elif found.measure.votes is not None:
        facts["votes"] = found.measure.votes
    change = ScoreChange(model.id, task, old, supply.Score.model_validate(facts))
    doubts = [] if bounds.takes(model.id, f"{model.id}/{task}") else list(_doubts(change, bounds))
    for reason in doubts:
        verdicts.refuse(found.rows[0].place, f"{model.id}/{task}", reason, f"{model.id}/{task}")
    return None if doubts else change


def _doubts(change: ScoreChange, bounds: Bounds) -> Iterator[str]:
    old, new = change.old, change.new
    if old is None:
        return
    if new.as_of < old.as_of:
        yield f"date {new.as_of} is before {old.as_of}, that of the score in force"
    for name, was, is_now in (("score", old.score, new.score), ("p25", old.p25, new.p25)):
        if abs(is_now - was) > bounds.score_difference:
            yield f"{name} {was:g} -> {is_now:g} moves by {is_now - was:+.3f}, beyond {bounds.score_difference:g}"
            return
