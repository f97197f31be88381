"""MediaRequest -> Traits: what the prompt is about, how sure we are, and by which signals.

Knows how a prompt is read: quoted text apart, negations turned round, each phrase of the lexicon counted once, votes
weighed into probabilities. The proxy calls ``classify`` for each request; ``match`` and ``decide`` read the Traits.
Which tasks there are and which words speak for them is data and not known here. Pure, and linear in the prompt. No
word of a caller may leave: a signal is a phrase of the lexicon, a count or a length.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count, filterfalse
from math import exp
from operator import itemgetter
from typing import NamedTuple

from adapters.ir import MediaRequest, Tier
from policies.lexicon import MARKS, UNSPACED, Entry, Group, Lexicon, Node, fold, load_lexicon, split_words
from policies.weights import score

__all__ = ["Lexicon", "Traits", "classify", "load_lexicon"]

READ = 2_000  # characters of a prompt that are looked at
SATURATION = 8.0  # a task's votes approach this and never pass it
EARLY = 1.4  # what stands first is what the picture is: "poster of ..." against "... beside a poster"
EARLY_WORDS, EARLY_CHARACTERS = 8, 16
AGAINST = 0.7  # a negated phrase votes against its tasks with this share of its weight
NEGATION_WORDS, NEGATION_CHARACTERS = 5, 4
ANNOUNCED_WORDS, ANNOUNCED_CHARACTERS = 6, 24  # after "that says" stands what is to be rendered, which must not vote
TEXT = "quoted_text"  # the feature that says that text is to be rendered: so hard a signal that
HUSHED = 0.25  # the weights speak lower beside it, since it holds where prompts are unlike those they were learned from
PLAUSIBLE, PLAUSIBLE_TASKS = 0.15, 4
MENTIONED = 0.05  # below it there is no runner-up
STRETCHED = 1.2  # longer edge over shorter, from which a picture is tall or wide
SIGNALS = 12
QUALITY = {"low": Tier.DRAFT, "medium": Tier.STANDARD, "high": Tier.PREMIUM}

Heard = dict[Entry, float]  # with the factor of its votes: negative where it is negated


@dataclass(frozen=True, slots=True)
class Traits:
    """What the classifier says of a request. ``tasks`` are the plausible ones with their probability, best first."""

    task: str
    confidence: float
    runner_up: str = ""
    tasks: tuple[tuple[str, float], ...] = ()
    signals: tuple[str, ...] = ()
    language: str = "en"
    tier: Tier | None = None  # from words like "draft" or "print-ready", or the caller's quality field


class Reading(NamedTuple):
    """What was found in a request before anything is weighed. The training of the weights reads its prompts so, too."""

    heard: Heard
    against: Heard  # in the negative prompt
    features: Mapping[str, str]  # what speaks besides phrases: the name the lexicon gives votes to, and the signal
    units: Sequence[str]  # what the weights know: words, and characters of unspaced scripts
    language: str
    tier: Tier | None


def classify(request: MediaRequest, lexicon: Lexicon) -> Traits:
    """What ``request`` is about. Never raises; of each prompt the first 2,000 characters are read."""
    reading = read(request, lexicon)
    language, tier = reading.language, QUALITY.get(request.quality) or reading.tier
    if implied := lexicon.operations.get(request.operation):
        return Traits(implied, 1.0, "", ((implied, 1.0),), (f"operation:{request.operation}",), language, tier)

    ranked = _rank(reading, lexicon.groups[request.operation])
    plausible = [(task, round(share, 4)) for task, share in ranked if share >= PLAUSIBLE]
    task, confidence = ranked[0]
    return Traits(
        task=task,
        confidence=round(confidence, 4),
        runner_up=ranked[1][0] if len(ranked) > 1 and ranked[1][1] >= MENTIONED else "",
        tasks=tuple(plausible) or ((task, round(confidence, 4)),),
        signals=tuple([*reading.features.values(), *_signals(reading.heard, reading.against)][:SIGNALS]),
        language=language,
        tier=tier,
    )


# ------------------------------------------------------------------------------------------------------------- reading

CLAUSE_END = re.compile(f"[{re.escape(MARKS)}]")
QUOTED = re.compile(
    r"""["“„«「『'](?:"""  # one set of openings, which makes the scan for the next one fast
    r"""(?<=(?<![a-z0-9=])")[^"\n]{1,300}"|(?<=“)[^“”\n]{1,300}”|(?<=„)[^„“”\n]{1,300}[“”]|(?<=«)[^«»\n]{1,300}»"""
    r"""|(?<=「)[^「」\n]{1,300}」|(?<=『)[^『』\n]{1,300}』"""
    r"""|(?<=(?<![a-z0-9])')(?:[^'\n]|(?<=[a-z])'(?=[a-z])){1,300}'(?![a-z0-9]))"""
)
NAMING = re.compile(r"(?:\b(?:called|named|nicknamed|aka|style of|by|film|movie|song)|名叫|名为|叫做)\s*$")
STRUCTURED = re.compile(r'"\s*:|[a-z]="')  # a prompt written as JSON or with {fields} quotes everything
UNITS = re.compile(f"[{UNSPACED.pattern[1:-1]},.;:!?]")  # a mark keeps what stands on its sides from being a pair
FOREIGN = re.compile("[\u0430-\u044f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")  # any of the scripts below
SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),  # kana; Han alone is taken for Chinese
    ("ko", re.compile("[\uac00-\ud7a3]")),
    ("zh", re.compile("[\u3400-\u9fff]")),
    ("ru", re.compile("[\u0430-\u044f]")),
)


def read(request: MediaRequest, lexicon: Lexicon) -> Reading:
    """What there is in ``request`` to be weighed."""
    group = lexicon.groups[request.operation]
    text, quoted = _set_quotes_apart(fold(request.prompt[:READ]))
    words = split_words(text)
    heard, units = _hear(text, words, group, lexicon)
    against: Heard = {}
    if request.negative_prompt:
        unwanted = fold(request.negative_prompt[:READ])
        against = dict.fromkeys(_hear(unwanted, split_words(unwanted), group, lexicon)[0], -AGAINST)
    said = [entry for entry, factor in heard.items() if factor > 0 and (entry.announces or entry.tier)]
    features = dict(_features(request, quoted, any(entry.announces for entry in said)))
    units += [f"#{feature}" for feature in features]  # no word has that sign in it
    tier = next((entry.tier for entry in said if entry.tier), None)
    return Reading(heard, against, features, units, _language(text, words, lexicon.languages), tier)


def _set_quotes_apart(text: str) -> tuple[str, int]:
    """The text with a bare quotation mark for each quotation, and how many quoted characters are to be rendered."""
    if text.isascii() and '"' not in text and "'" not in text:
        return text, 0
    if STRUCTURED.search(text):
        return text, 0
    length = 0

    def take(quotation: re.Match[str]) -> str:
        nonlocal length
        start = quotation.start()
        if not NAMING.search(text[max(0, start - 12) : start]):
            length += len(quotation[0]) - 2
        return ' " '

    apart = QUOTED.sub(take, text)
    return (text, 0) if apart == ' " ' else (apart, length)  # a prompt all in quotation marks is just a prompt


def _language(text: str, words: Sequence[str], languages: Mapping[str, tuple[str, ...]]) -> str:
    """By script, or by words that English does not have; a foreign name or two do not make a language."""
    if not text.isascii() and FOREIGN.search(text):
        for language, script in SCRIPTS:
            if len(script.findall(text)) * 4 > len(words):
                return language
    telling = languages.keys() & words
    if len(telling) < 2 or len(telling) * 8 < len(words):
        return "en"
    told = sorted(language for word in telling for language in languages[word])
    return max(told, key=told.count)


def _hear(text: str, words: Iterable[str], group: Group, lexicon: Lexicon) -> tuple[Heard, list[str]]:
    """Every phrase of the group that the text has, in the order of their first places, which decide their factors; and
    the units of the text the weights read: words, and characters of unspaced scripts, of what is neither negated nor
    to be rendered."""
    units = [*filterfalse(lexicon.ignored.__contains__, words), ""]
    heard, silent = _hear_words(units, group, lexicon.negators)
    for start, end in reversed(silent):
        units[start:end] = [""]
    if not text.isascii() and UNSPACED.search(text):
        for start, end in reversed(_hear_substrings(text, group, lexicon, heard)):
            text = f"{text[:start]} {text[end:]}"
        units += UNITS.findall(text)
    return heard, units


def _hear_words(words: Sequence[str], group: Group, negators: frozenset[str]) -> tuple[Heard, list[list[int]]]:
    """Phrases of spaced scripts, the longest at each place, and from where to where words are negated or to be
    rendered. The last of ``words`` is empty: no phrase goes on there."""
    heard: Heard = {}
    silent: list[list[int]] = []
    negated = announced = 0  # up to which place
    after = 0
    for at in compress(count(), map(group.roots.__contains__, words)):
        if at < after:
            continue
        node = group.roots[words[at]]
        entry, after = _longest(words, at, node) if node.next else (node.entry, at + 1)
        if entry is None:
            if words[at] in negators:
                negated = after + NEGATION_WORDS
                _silence(silent, at, negated)
            elif not node.next:  # it only steers: the clause is over
                negated = announced = 0
                if silent and silent[-1][1] > at:
                    silent[-1][1] = at
        elif at >= announced:
            if entry not in heard:
                heard[entry] = -AGAINST if at < negated else EARLY if at < EARLY_WORDS else 1.0
            if entry.announces:
                announced = after + ANNOUNCED_WORDS
                _silence(silent, after, announced)
    return heard, silent


def _silence(silent: list[list[int]], start: int, end: int) -> None:
    if silent and silent[-1][1] >= start:
        silent[-1][1] = max(silent[-1][1], end)
    else:
        silent.append([start, end])


def _longest(words: Sequence[str], at: int, node: Node) -> tuple[Entry | None, int]:
    """The longest phrase that begins at ``at``, and the place after it."""
    entry, after = node.entry, at + 1
    end = after
    while (following := node.next.get(words[end])) is not None:
        node = following
        end += 1
        if node.entry is not None:
            entry, after = node.entry, end
    return entry, after


def _hear_substrings(text: str, group: Group, lexicon: Lexicon, heard: Heard) -> list[tuple[int, int]]:
    """The same for scripts that write no spaces."""
    silent: list[tuple[int, int]] = []
    after = 0
    for at, character in enumerate(text):
        if at < after or character not in group.substrings:
            continue
        for phrase, entry in group.substrings[character]:
            if text.startswith(phrase, at):
                after = at + len(phrase)
                factor = _factor_of_substring(text, at, after, lexicon)
                if entry not in heard:
                    heard[entry] = factor
                if factor < 0:
                    silent.append((at, after))
                if entry.announces:
                    end = CLAUSE_END.search(text, after, after + ANNOUNCED_CHARACTERS)
                    start, after = after, end.start() if end else after + ANNOUNCED_CHARACTERS
                    silent.append((start, after))
                break
    return silent


def _factor_of_substring(text: str, start: int, end: int, lexicon: Lexicon) -> float:
    before = text[max(0, start - NEGATION_CHARACTERS) : start]
    if any(negator in before for negator in lexicon.before) or text.startswith(lexicon.after, end):
        return -AGAINST
    return EARLY if start < EARLY_CHARACTERS else 1.0


# ------------------------------------------------------------------------------------------------------------ weighing


def _features(request: MediaRequest, quoted: int, announced: bool) -> Iterator[tuple[str, str]]:
    """What speaks besides phrases: the name the lexicon gives votes to, and the signal."""
    if quoted or announced:
        yield "quoted_text", f"quoted_text:{quoted}" if quoted else "announced_text"
    shape = request.size or request.aspect
    if shape and min(shape) > 0:
        width, height = shape
        name = "wide" if width >= STRETCHED * height else "tall" if height >= STRETCHED * width else "square"
        yield name, f"aspect:{name}"
    if request.references:
        yield "references" if len(request.references) > 1 else "reference", f"references:{len(request.references)}"
    if request.background == "transparent":
        yield "transparent", "background:transparent"


def odds_of(reading: Reading, group: Group) -> dict[str, float]:
    """The lexicon's votes, saturated, as log odds: of the default task and every one that was spoken for or against."""
    heard = reading.against | reading.heard if reading.against else reading.heard
    sums = {group.default: group.prior}
    families: dict[str, float] = {}
    for entry, factor in heard.items():
        if entry.family:
            families[entry.family] = max(factor, families.get(entry.family, factor))
        for task, weight in entry.votes:
            if factor > 0 or weight > 0:  # "not a cartoon" speaks against cartoons, but for nothing else
                sums[task] = sums.get(task, 0.0) + weight * factor
    once = [(group.families[family], factor) for family, factor in families.items()]
    once += [(group.features.get(feature, ()), 1.0) for feature in reading.features]
    for votes, factor in once:
        for task, weight in votes:
            sums[task] = sums.get(task, 0.0) + weight * factor
    steepness = SATURATION / group.temperature
    return {task: votes / (SATURATION + abs(votes)) * steepness for task, votes in sums.items()}


def _rank(reading: Reading, group: Group) -> list[tuple[str, float]]:
    """Votes and learned scores through a softmax: the likeliest tasks with their probabilities, best first."""
    odds = odds_of(reading, group)
    sharpness, powers = 1.0, {}
    if group.weights:
        sharpness, voted = 1 / group.weights.temperature, odds.pop
        scores = score(group.weights, reading.units, HUSHED if TEXT in reading.features else 1.0)
        powers = {task: exp((learned + voted(task, 0.0)) * sharpness) for task, learned in scores}
    powers |= {task: exp(odd * sharpness) for task, odd in odds.items()}
    total = sum(powers.values()) + len(group.tasks) - len(powers)  # a task nothing speaks of has exp(0)
    best = sorted(powers.items(), key=itemgetter(1), reverse=True)[:PLAUSIBLE_TASKS]
    return [(task, power / total) for task, power in best]


def _signals(heard: Heard, against: Iterable[Entry]) -> list[str]:
    signals: list[str] = []
    families: dict[str, int] = {}
    for entry, factor in heard.items():
        if entry.family and factor > 0:
            families[entry.family] = families.get(entry.family, 0) + 1
        elif entry.votes or entry.family:
            signals.append(f"phrase:{entry.label}" if factor > 0 else f"negative:{entry.label}")
    signals.extend(f"negative:{entry.label}" for entry in against if entry.votes or entry.family)
    return [f"{family}:{count}" for family, count in families.items()] + signals
