"""The classifier's lexicon, compiled: which tasks there are, and every word that speaks for or against one.

Knows the format of ``lexicon.yaml`` (told at its head) and how text is cut into words, since a phrase must be cut as a
prompt is. ``classify`` reads prompts by it; the proxy loads it once. Must not know a request.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from adapters.ir import Operation, Tier
from policies.weights import Weights, keep_tasks, load_weights

GROUPS = ("image", "edit", "video")

Votes = tuple[tuple[str, float], ...]  # task, weight
Addition = tuple[str, str, tuple[tuple[float, tuple[str, ...]], ...]]  # task, group where it is new, phrases by weight


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One phrase of the lexicon, as one group hears it. Its identity is its key: a plural is the same entry."""

    label: str  # as the lexicon spells it
    votes: Votes = ()
    family: str = ""  # phrases of a family are one signal, with a count
    announces: bool = False  # text to be rendered follows
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A word at one place of some phrases: the phrase that ends with it, if any, and the words that may follow."""

    entry: Entry | None
    next: Mapping[str, "Node"]


@dataclass(frozen=True, slots=True)
class Group:
    """The tasks an operation chooses among, and every phrase they listen for."""

    default: str  # the task when nothing speaks
    prior: float  # the votes it starts with
    temperature: float
    tasks: tuple[str, ...]
    roots: Mapping[str, Node]  # by the first word of a phrase, and by every word that steers
    substrings: Mapping[str, tuple[tuple[str, Entry], ...]]  # unspaced scripts, by first character, longest first
    families: Mapping[str, Votes]
    features: Mapping[str, Votes]
    weights: Weights | None


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Values only: safe to share between requests."""

    groups: Mapping[Operation, Group]
    operations: Mapping[Operation, str]  # operations that are a task by themselves
    ignored: frozenset[str]
    negators: frozenset[str]
    before: tuple[str, ...]  # negators of unspaced scripts, by the side of what they negate
    after: tuple[str, ...]
    languages: Mapping[str, tuple[str, ...]]  # telling word -> the languages it tells

    def tasks(self) -> frozenset[str]:
        """Every task there is."""
        return frozenset(task for group in self.groups.values() for task in group.tasks) | {*self.operations.values()}


# ------------------------------------------------------------------------------------------------------ cutting a text

MARKS = ',.;:!?()"\n'  # they end a clause
CLAUSE_ENDS = ("but", "just", "only", "instead", "sino", "sondern", "mais", "aber")  # what follows is wanted again
UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")  # kana, Han, Hangul
ALIKE = {  # a plain letter or mark, and what is read as it
    **{"a": "àáâãäå", "e": "èéêë", "i": "ìíîï", "o": "òóôõöø", "u": "ùúûü", "c": "ç", "n": "ñ"},
    **{"ss": "ß", "oe": "œ", "ae": "æ", "'": "\u2018\u2019", '"': "\uff02", ",": "\uff0c\u3001"},
    **{".": "\u3002", ";": "\uff1b", ":": "\uff1a", "!": "\uff01", "?": "\uff1f"},
}
FOLD = {letter: plain for plain, letters in ALIKE.items() for letter in letters}
FOLDED = re.compile(f"[{''.join(FOLD)}]")
SPACE = re.compile("[^\\x00-\\x7f\u0430-\u044fё]+")  # between words of Latin and Cyrillic, anything else is
PLAIN = "".join("," if sign in MARKS else sign if sign.isalnum() else " " for sign in map(chr, range(128)))


def fold(text: str) -> str:
    """Lower case, without the accents that people leave out and with plain marks for full-width ones."""
    text = text.lower()
    return text if text.isascii() else FOLDED.sub(lambda letter: FOLD[letter[0]], text)


def split_words(text: str) -> list[str]:
    """The words of a folded text, with a comma for each mark that ends a clause."""
    if not text.isascii():
        text = SPACE.sub(" ", text)
    return text.translate(PLAIN).replace(",", " , ").split()


# ----------------------------------------------------------------------------------------------------------- compiling


@lru_cache(4)
def load_lexicon(additions: tuple[Addition, ...] = ()) -> Lexicon:
    """The lexicon and weights shipped beside this module, and what operators add to them (``TaskLexicon`` documents,
    checked before). For start-up and reloads: it takes some tenths of a second."""
    document = shipped_document()
    tasks = dict(document["tasks"])
    for task, group, phrases in additions:
        spec = tasks.get(task, {"group": group, "phrases": {}})
        tasks[task] = {**spec, "phrases": _joined(spec["phrases"], phrases)}
    return compile_lexicon({**document, "tasks": tasks}, load_weights())


@cache
def shipped_document() -> Mapping[str, Any]:
    """lexicon.yaml as YAML reads it."""
    text = files("policies").joinpath("lexicon.yaml").read_text("utf-8")
    return _mapping(yaml.load(text, yaml.CSafeLoader), "lexicon")


def _joined(
    phrases: Mapping[float, list[str]], more: Iterable[tuple[float, tuple[str, ...]]]
) -> Mapping[float, list[str]]:
    joined = {float(weight): listed for weight, listed in phrases.items()}
    for weight, listed in more:
        joined[weight] = [*joined.get(weight, ()), *listed]
    return joined


def compile_lexicon(document: object, weights: Mapping[str, Weights] = MappingProxyType({})) -> Lexicon:
    """``document`` is what YAML makes of a lexicon file, ``weights`` what was learned for its groups. Raises ValueError
    naming the field that is wrong."""
    lexicon = _mapping(document, "lexicon")
    tasks = _mapping(lexicon.get("tasks"), "tasks")
    operations = _mapping(lexicon.get("operations", {}), "operations")
    for operation, task in operations.items():
        if operation not in set(Operation) or task not in tasks:
            raise ValueError(f"operations.{operation}: must map an operation to a task; got {task!r}")
    languages: dict[str, tuple[str, ...]] = {}
    for language, words in _mapping(lexicon.get("languages", {}), "languages").items():
        for word in _texts(words, f"languages.{language}"):
            languages[fold(word)] = (*languages.get(fold(word), ()), language)
    negation = _mapping(lexicon.get("negation", {}), "negation")
    ignored = frozenset(_texts(lexicon.get("ignored", []), "ignored"))
    negators = frozenset(_texts(negation.get("words", []), "negation.words"))
    steering = (",", *CLAUSE_ENDS, *negators)
    groups = {name: _compile_group(name, lexicon, ignored, steering, weights.get(name)) for name in GROUPS}
    return Lexicon(
        groups={operation: groups[_group_of(operation)] for operation in Operation},
        operations={Operation(operation): task for operation, task in operations.items()},
        ignored=ignored,
        negators=negators,
        before=_texts(negation.get("before", []), "negation.before"),
        after=_texts(negation.get("after", []), "negation.after"),
        languages=languages,
    )


def _group_of(operation: Operation) -> str:
    if operation in (Operation.GENERATE, Operation.MODEL3D_GENERATE):
        return "image"
    return "video" if operation.startswith("video.") else "edit"


def _compile_group(
    name: str, lexicon: Mapping[str, Any], ignored: frozenset[str], steering: Iterable[str], weights: Weights | None
) -> Group:
    where = f"groups.{name}"
    settings = _mapping(_mapping(lexicon.get("groups"), "groups").get(name), where)
    tasks = tuple(task for task, spec in lexicon["tasks"].items() if _task_group(spec, f"tasks.{task}") == name)
    if settings.get("default") not in tasks:
        raise ValueError(f"{where}.default: must be a task of this group; got {settings.get('default')!r}")
    temperature = _number(settings.get("temperature"), f"{where}.temperature")
    if temperature <= 0:
        raise ValueError(f"{where}.temperature: must be above 0; got {temperature}")
    entries = _compile_entries(lexicon, tasks, ignored)
    substrings: dict[str, list[tuple[str, Entry]]] = {}
    for key in sorted(filter(UNSPACED.search, entries), key=len, reverse=True):
        substrings.setdefault(key[0], []).append((key, entries[key]))
    spaced = [(tuple(key.split()), entry) for key, entry in entries.items() if not UNSPACED.search(key)]
    families = _mapping(lexicon.get("families", {}), "families")
    return Group(
        default=str(settings["default"]),
        prior=_number(settings.get("prior"), f"{where}.prior"),
        temperature=temperature,
        tasks=tasks,
        roots={word: Node(None, {}) for word in steering} | _tree(spaced, 0),
        substrings={character: tuple(found) for character, found in substrings.items()},
        families={
            family: _votes(
                _mapping(spec, f"families.{family}").get("votes"), tasks, lexicon, f"families.{family}.votes"
            )
            for family, spec in families.items()
        },
        features={
            feature: _votes(votes, tasks, lexicon, f"features.{feature}")
            for feature, votes in _mapping(lexicon.get("features", {}), "features").items()
        },
        weights=keep_tasks(weights, tasks) if weights else None,
    )


def _compile_entries(lexicon: Mapping[str, Any], tasks: Sequence[str], ignored: frozenset[str]) -> dict[str, Entry]:
    """What one group hears, by the phrase as it is met in a folded text."""
    entries: dict[str, Entry] = {}
    for entry, where in _listed(lexicon, tasks):
        try:
            key = as_heard(entry.label, ignored)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        entries[key] = _merge(entries[key], entry, where) if key in entries else entry
    plurals = {f"{key}s": entry for key, entry in entries.items() if key[-1].isascii() and key[-1].isalpha()}
    return plurals | entries


def as_heard(phrase: str, ignored: Container[str]) -> str:
    """The phrase as it is met in a folded text. Raises ValueError for one that never could be."""
    key = fold(phrase)
    if UNSPACED.search(key):
        return key
    words = split_words(key)
    if not words or "," in words or words[0] in ignored or words[-1] in ignored:
        raise ValueError(f"{phrase!r} has a mark in it, or an ignored word at an end")
    return " ".join(word for word in words if word not in ignored)


def _listed(lexicon: Mapping[str, Any], tasks: Sequence[str]) -> Iterator[tuple[Entry, str]]:
    """Every phrase of the file that one group hears, and the field it stands in."""
    for task in tasks:
        for weight, phrases in _mapping(lexicon["tasks"][task].get("phrases"), f"tasks.{task}.phrases").items():
            where = f"tasks.{task}.phrases.{weight}"
            votes = ((task, _number(weight, where)),) if weight else ()
            yield from ((Entry(phrase, votes), where) for phrase in _texts(phrases, where))
    for family, spec in _mapping(lexicon.get("families", {}), "families").items():
        where = f"families.{family}.phrases"
        phrases = _texts(_mapping(spec, f"families.{family}").get("phrases"), where)
        yield from ((Entry(phrase, family=family), where) for phrase in phrases)
    announcers = _texts(lexicon.get("announcers", []), "announcers")
    yield from ((Entry(phrase, announces=True), "announcers") for phrase in announcers)
    for tier, phrases in _mapping(lexicon.get("tiers", {}), "tiers").items():
        if tier not in set(Tier):
            raise ValueError(f"tiers.{tier}: must be one of {', '.join(Tier)}")
        yield from ((Entry(phrase, tier=Tier(tier)), f"tiers.{tier}") for phrase in _texts(phrases, f"tiers.{tier}"))


def _merge(one: Entry, other: Entry, where: str) -> Entry:
    """A phrase that stands in two places."""
    if {task for task, _ in one.votes} & {task for task, _ in other.votes}:
        raise ValueError(f"{where}: {other.label!r} is listed twice for the same task")
    return Entry(
        one.label,
        one.votes + other.votes,
        one.family or other.family,
        one.announces or other.announces,
        one.tier or other.tier,
    )


def _tree(phrases: Sequence[tuple[tuple[str, ...], Entry]], depth: int) -> dict[str, Node]:
    branches: dict[str, list[tuple[tuple[str, ...], Entry]]] = {}
    for words, entry in phrases:
        branches.setdefault(words[depth], []).append((words, entry))
    return {
        word: Node(
            next((entry for words, entry in branch if len(words) == depth + 1), None),
            _tree([(words, entry) for words, entry in branch if len(words) > depth + 1], depth + 1),
        )
        for word, branch in branches.items()
    }


# -------------------------------------------------------------------------------------------------- reading the fields


def _task_group(spec: object, where: str) -> str:
    group = _mapping(spec, where).get("group")
    if group not in GROUPS:
        raise ValueError(f"{where}.group: must be one of {', '.join(GROUPS)}; got {group!r}")
    return str(group)


def _votes(value: object, tasks: Sequence[str], lexicon: Mapping[str, Any], where: str) -> Votes:
    """The votes that fall to ``tasks``; other groups take theirs."""
    votes = _mapping(value, where)
    if unknown := next((task for task in votes if task not in lexicon["tasks"]), None):
        raise ValueError(f"{where}.{unknown}: there is no such task")
    return tuple((task, _number(weight, f"{where}.{task}")) for task, weight in votes.items() if task in tasks)


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be a mapping; got {str(value)[:40]!r}")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: must be a number; got {str(value)[:40]!r}")
    return float(value)


def _texts(value: object, where: str) -> tuple[str, ...]:
    """A list of words. YAML takes a bare on, no, yes or 4 for something else: such words need quotes."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: must be a list; got {str(value)[:40]!r}")
    if wrong := [item for item in value if not isinstance(item, str)]:
        raise ValueError(f"{where}: {wrong[0]!r} must be text; put it in quotes")
    return tuple(value)
