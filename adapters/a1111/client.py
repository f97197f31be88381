"""What we serve to callers of AUTOMATIC1111 and Forge.

Called through the registry. Must not wait or fetch. Handed on untouched, as only their own server can answer them:
scripts (ControlNet, ADetailer and the like), several pictures at once, pictures to be saved there and not sent, and the
lists of what it has. Its settings and its queue cannot be changed through us: they are not this caller's alone.

The model is the checkpoint of ``override_settings``, or the upscaler. LoRAs are named in the prompt. For FLUX on Forge
``cfg_scale`` is 1, and the guidance is ``distilled_cfg_scale``.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

import orjson

from adapters import fields, imaging
from adapters.a1111.dialect import NAME, OPERATIONS, PICTURES, PLAIN, POLISHES, UPSCALED, read_loras, write_loras
from adapters.ir import (
    Action,
    Artifact,
    ClientCall,
    ClientReply,
    Failure,
    InvalidRequest,
    MediaRequest,
    MediaResult,
    Operation,
    PassThrough,
    Route,
)

PREFIX = "/a1111"
VERSIONS: tuple[str, ...] = ("/sdapi/v1", "")
ALIASES: tuple[str, ...] = ()
_LISTS = (
    "progress|options|cmd-flags|memory|samplers|schedulers|upscalers|latent-upscale-modes|sd-models|sd-vae|sd-modules"
    "|loras|hypernetworks|face-restorers|realesrgan-models|prompt-styles|embeddings|scripts|script-info|extensions"
)
ROUTES: tuple[Route, ...] = (
    Route("POST", "/txt2img", Action.CREATE, "txt2img"),
    Route("POST", "/img2img", Action.CREATE, "img2img"),
    Route("POST", "/extra-single-image", Action.CREATE, "extra-single-image"),
    Route("GET", f"/{{list:{_LISTS}}}", Action.PASS),
    Route("POST", "/{question:extra-batch-images|png-info|interrogate}", Action.PASS),
)
CLIENT_OPERATIONS = OPERATIONS

MAX_SEED = 2**32 - 1
_EDGE = 512  # of a picture whose other edge alone was given

# ----------------------------------------------------------------------------------------------------------- reading


def read_request(call: ClientCall) -> MediaRequest:
    """Raises InvalidRequest, and PassThrough for what only its own server can do."""
    body = {name: value for name, value in fields.read_object(call.body).items() if value is not None}
    if call.route == "extra-single-image":
        return _read_upscale(call, body)
    if body.get("send_images") is False or body.get("script_name") or _has_scripts(body):
        raise PassThrough
    model, settings = _read_settings(body)
    prompt, loras = read_loras(fields.read_text(body, "prompt"))
    shape, told = _read_pictures(body) if call.route == "img2img" else ({"operation": Operation.GENERATE}, frozenset())
    seed = fields.read_integer(body, "seed", -1, MAX_SEED)
    guided = "distilled_cfg_scale" if body.get("cfg_scale") == 1 and "distilled_cfg_scale" in body else "cfg_scale"
    batches = [fields.read_integer(body, name, 1, 100) or 1 for name in ("batch_size", "n_iter")]
    return MediaRequest(
        prompt=prompt,
        negative_prompt=fields.read_text(body, "negative_prompt"),
        model=model,
        n=batches[0] * batches[1],
        size=_read_size(body),
        seed=None if seed == -1 else seed,
        steps=fields.read_integer(body, "steps", 1, 1000),
        guidance=fields.read_number(body, guided, 0, 100),
        loras=loras,
        extras=_extras({**body, "override_settings": settings}, PLAIN - {"cfg_scale"} | {guided} | told),
        **shape,
        ask=call.ask,
    )


def _has_scripts(body: Mapping[str, Any]) -> bool:
    """Whether a script is switched on: clients name the ones they know of, with nothing or ``false`` to do."""
    scripts = body.get("alwayson_scripts", {})
    if not isinstance(scripts, dict):
        raise InvalidRequest("alwayson_scripts", "alwayson_scripts must be an object")
    given = [script.get("args") for script in scripts.values() if isinstance(script, dict)]
    return any(any(args) if isinstance(args, list) else args for args in given)


def _read_settings(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The checkpoint, and the other settings."""
    settings = body.get("override_settings", {})
    if not isinstance(settings, dict):
        raise InvalidRequest("override_settings", "override_settings must be an object")
    model = fields.read_text(settings, "sd_model_checkpoint")
    return model, {name: value for name, value in settings.items() if name != "sd_model_checkpoint"}


def _read_size(body: Mapping[str, Any]) -> tuple[int, int] | None:
    edges = [fields.read_integer(body, name, 1, fields.MAX_EDGE) for name in ("width", "height")]
    return (edges[0] or _EDGE, edges[1] or _EDGE) if any(edges) else None


def _read_pictures(body: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """White = change, as in the canon, unless it is said to be the other way round."""
    images = body.get("init_images")
    if not isinstance(images, list) or not images:
        raise InvalidRequest("init_images", "init_images is required, as an array of pictures")
    if len(images) > 1:  # each to be worked on by itself
        raise PassThrough
    shape: dict[str, Any] = {
        "operation": Operation.EDIT,
        "references": (imaging.read_picture(images[0], "init_images"),),
        "strength": fields.read_number(body, "denoising_strength", 0, 1),
    }
    if body.get("mask"):
        mask = imaging.read_picture(body["mask"], "mask")
        inverted = bool(fields.read_integer(body, "inpainting_mask_invert", 0, 1))
        if mask.url and inverted:
            raise InvalidRequest("mask", "mask must be the picture itself, not a URL, with inpainting_mask_invert")
        grey = mask if mask.url else imaging.mask_from_grey(mask.data, "mask", white_is_change=not inverted)
        shape |= {"operation": Operation.INPAINT, "mask": grey}
    return shape, PICTURES


def _read_upscale(call: ClientCall, body: Mapping[str, Any]) -> MediaRequest:
    """An upscale by a factor or to a size; a restore where there is no upscaler but a face restorer."""
    names = ("gfpgan_visibility", "codeformer_visibility")
    restores = any([fields.read_number(body, name, 0, 1) for name in names])
    upscaler = fields.read_text(body, "upscaler_1")
    restore = restores and upscaler in ("", "None")
    shape: dict[str, Any] = {}
    if not restore and fields.read_integer(body, "resize_mode", 0, 1):
        edges = [fields.read_integer(body, f"upscaling_resize_{edge}", 1, fields.MAX_EDGE) for edge in ("w", "h")]
        shape = {"size": (edges[0] or _EDGE, edges[1] or _EDGE)}
    elif not restore:
        shape = {"scale": fields.read_number(body, "upscaling_resize", 0.1, 16)}
    if not body.get("image"):
        raise InvalidRequest("image", "image is required")
    return MediaRequest(
        Operation.RESTORE if restore else Operation.UPSCALE,
        model="" if upscaler == "None" else upscaler,
        references=(imaging.read_picture(body["image"], "image"),),
        extras=_extras(body, UPSCALED),
        **shape,
        ask=call.ask,
    )


def _extras(body: Mapping[str, Any], told: frozenset[str]) -> dict[str, dict[str, Any]]:
    extras = {name: value for name, value in body.items() if name not in told and value != {}}
    return {NAME: extras} if extras else {}


# ----------------------------------------------------------------------------------------------------------- writing


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    images = [imaging.encode_base64(artifact.media.data) for artifact in result.artifacts]
    if request.operation in POLISHES:
        return _json(200, {"html_info": "", "image": images[0]})
    parameters = _parameters(result, request)
    info = orjson.dumps(_info(result, request, parameters)).decode()
    return _json(200, {"images": images, "parameters": {**request.extras.get(NAME, {}), **parameters}, "info": info})


def _parameters(result: MediaResult, request: MediaRequest) -> dict[str, Any]:
    first = result.artifacts[0]
    return {
        "prompt": write_loras(request.prompt, request.loras),
        "negative_prompt": request.negative_prompt,
        "seed": -1 if request.seed is None else request.seed,
        "steps": request.steps,
        "cfg_scale": request.guidance,
        "width": first.width,
        "height": first.height,
        "batch_size": len(result.artifacts),
        "n_iter": 1,
    }


def _info(result: MediaResult, request: MediaRequest, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What clients read the seeds from; -1 is a seed nobody told."""
    seeds = [_seed(artifact, request, index) for index, artifact in enumerate(result.artifacts)]
    prompt, negative = parameters["prompt"], parameters["negative_prompt"]
    return {
        **parameters,
        "seed": seeds[0],
        "all_prompts": [prompt] * len(seeds),
        "all_negative_prompts": [negative] * len(seeds),
        "all_seeds": seeds,
        "sd_model_name": result.model,
        "index_of_first_image": 0,
        "infotexts": [_infotext(parameters, seed, result.model) for seed in seeds],
    }


def _seed(artifact: Artifact, request: MediaRequest, index: int) -> int:
    if artifact.seed is not None:
        return artifact.seed
    return -1 if request.seed is None else request.seed + index


def _infotext(parameters: Mapping[str, Any], seed: int, model: str) -> str:
    told = {
        "Steps": parameters["steps"],
        "CFG scale": parameters["cfg_scale"],
        "Seed": seed,
        "Size": f"{parameters['width']}x{parameters['height']}",
        "Model": model,
    }
    negative = f"\nNegative prompt: {parameters['negative_prompt']}" if parameters["negative_prompt"] else ""
    rest = ", ".join(f"{name}: {value}" for name, value in told.items() if value not in (None, ""))
    return f"{parameters['prompt']}{negative}\n{rest}"


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """``detail`` as FastAPI has it where a field is to blame, else beside the keys of the server's own errors."""
    kind = failure.code or failure.cause.label
    if failure.field:
        body: dict[str, Any] = {"detail": [{"loc": ["body", failure.field], "msg": failure.message, "type": kind}]}
    else:
        body = {"error": kind, "detail": failure.message, "body": "", "errors": failure.message}
    wait = {} if failure.retry_after is None else {"Retry-After": str(ceil(failure.retry_after))}
    return _json(failure.http_status, body, wait)


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ClientReply:
    return ClientReply(status, orjson.dumps(value), headers=headers or {})
