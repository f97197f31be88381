"""Which composition the sandbox draws for a prompt.

Called by ``render``. The choice is the sandbox's own and deliberately not the classifier's: the providers must not know
what the router thinks.
"""

from collections.abc import Callable

from proxy.sandbox.graphics import abstract, infographic, interface, logo, poster
from proxy.sandbox.outdoors import architecture, landscape
from proxy.sandbox.paint import Box, Canvas
from proxy.sandbox.subjects import food, portrait, product

Scene = Callable[[Canvas], Box]  # paints, and returns the box in which quoted words read well

# What each word counts: a form ("poster") says more than what is in it ("ocean").
_SCENES: tuple[tuple[Scene, int, str], ...] = (
    (logo, 3, "logo icon emblem badge monogram logotype wordmark mark brandmark sticker vector"),
    (infographic, 3, "infographic chart diagram graph statistic timeline flowchart data report slide"),
    (interface, 3, "ui ux interface dashboard app website webpage landing wireframe mockup screen saas"),
    (
        product,
        1,
        "product bottle packaging perfume sneaker shoe watch headphone jar cosmetic serum can mug candle package "
        "studio catalog plinth podium ecommerce commerce boot lotion smartwatch speaker",
    ),
    (
        food,
        1,
        "food dish plate meal pizza burger sushi cake salad soup breakfast dinner lunch dessert coffee ramen pasta "
        "bowl restaurant pancake noodle bread fruit gourmet steak taco",
    ),
    (
        portrait,
        1,
        "portrait headshot woman man person face child girl boy selfie character people model chef doctor warrior "
        "wizard astronaut cat kitten dog puppy fox bear wolf tiger lion rabbit panda raccoon pet mascot avatar fashion",
    ),
    (
        architecture,
        1,
        "building architecture house skyscraper city skyline tower interior street bridge facade cathedral villa "
        "downtown apartment office urban cyberpunk",
    ),
    (
        landscape,
        1,
        "landscape mountain hill valley sunset sunrise beach ocean sea lake forest river desert nature field island "
        "waterfall sky horizon meadow coast canyon dune snow glacier fjord cabin jungle aurora",
    ),
    (poster, 3, "poster sign banner typography card cover flyer headline text lettering says reading invitation quote"),
)
_TABLE = tuple((scene, weight, frozenset(words.split())) for scene, weight, words in _SCENES)


def scene_of(words: frozenset[str]) -> Scene:
    """The scene most of the words speak for, the earlier one of equals; flowing shapes when no word speaks."""
    hits, scene = max(((len(words & keys) * weight, scene) for scene, weight, keys in _TABLE), key=lambda pair: pair[0])
    return scene if hits else abstract
