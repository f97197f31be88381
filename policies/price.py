"""What a request costs at a deployment, in dollars, by the provider's own formula.

Called for every candidate of every new request shape, and by the proxy to book what was spent. A few microseconds, no
IO. What nobody told is unknown, never free.
"""

from adapters.ir import EDGES, MediaRequest, Operation
from policies.catalog import Deployment, Price

MEGAPIXEL = 1024 * 1024  # providers quote "1 MP" for a 1024x1024 picture
FROM_WORDS = frozenset({Operation.GENERATE, Operation.VIDEO_GENERATE, Operation.MODEL3D_GENERATE})
SLACK = 1.21  # a picture up to a tenth longer at each edge still is of the class: sizes are snapped by that much


def price(request: MediaRequest, deployment: Deployment) -> float | None:
    """Dollars for all pictures of the request; None: unknown. ``formula_for(...).estimated`` tells how sure it is.

    Pictures beyond what one call makes take further calls, each of which pays for the references again. A reference
    counts as one megapixel: its size is not known here.
    """
    formula = formula_for(request, deployment)
    if formula is None:
        return None
    usd = request.n * _picture(formula, request)
    if request.references:
        calls = -(-request.n // deployment.limits.max_images)
        usd += calls * len(request.references) * (formula.per_reference + formula.reference_megapixel)
    return usd * formula.priority.get(request.ask.priority, 1.0)


def formula_for(request: MediaRequest, deployment: Deployment) -> Price | None:
    """The price block that applies: the one for work on given pictures, where there is one and pictures are given."""
    if deployment.edit_price and (request.references or request.operation not in FROM_WORDS):
        return deployment.edit_price
    return deployment.price


def pixels(request: MediaRequest) -> int:
    """Pixels of one picture: as asked for, else 1024x1024."""
    if request.size:
        return request.size[0] * request.size[1]
    return int(EDGES.get(request.resolution, 1024) ** 2)


def _picture(formula: Price, request: MediaRequest) -> float:
    match formula.unit:
        case "megapixel":
            (_, _, first), (_, _, extra) = formula.table
            return first + extra * max(0, -(-pixels(request) // MEGAPIXEL) - 1)
        case "size":
            return _by_size(formula, request)
        case "resolution":
            return _by_resolution(formula, request)
        case "second":
            return formula.table[0][2] * (request.duration or formula.seconds)
        case "resolutionSecond":
            return _by_resolution(formula, request) * (request.duration or formula.seconds)
        case _:  # image
            return formula.table[0][2]


def _by_size(formula: Price, request: MediaRequest) -> float:
    name = "{}x{}".format(*request.size) if request.size else ""
    wanted = pixels(request)
    usd = formula.table[-1][2]
    for size, area, cost in reversed(formula.table):
        if size == name:
            return cost
        if area >= wanted:
            usd = cost
    return usd


def _by_resolution(formula: Price, request: MediaRequest) -> float:
    asked = bool(request.size or request.resolution)
    wanted = pixels(request) if asked else EDGES[formula.default] ** 2
    return next((cost for _, area, cost in formula.table if area * SLACK >= wanted), formula.table[-1][2])
