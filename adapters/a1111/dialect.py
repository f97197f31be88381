"""What both faces of this wire share: the names of its fields, and LoRAs in a prompt.

Imported by ``client`` and ``provider`` alone. Must not read or write a body.
"""

import re
from collections.abc import Sequence

from adapters.ir import Lora, Operation

NAME = "a1111"
POLISHES = frozenset({Operation.UPSCALE, Operation.RESTORE})  # what extra-single-image does
OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT, Operation.INPAINT}) | POLISHES

# The fields that are canonical: of every generation, of those with a picture, of extra-single-image.
PLAIN = frozenset(
    {"prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height", "batch_size", "n_iter"}
)
PICTURES = frozenset({"init_images", "mask", "inpainting_mask_invert", "denoising_strength"})
UPSCALED = frozenset(
    {"image", "upscaler_1", "resize_mode", "upscaling_resize", "upscaling_resize_w", "upscaling_resize_h"}
)

_LORA = re.compile(r"<lora:([^:<>]+)(?::(-?[0-9]{0,4}\.?[0-9]{1,6}))?>")


def read_loras(prompt: str) -> tuple[str, tuple[Lora, ...]]:
    """The prompt without its LoRAs, and these. One with more than a name and a weight stays where it is."""
    loras = tuple(Lora(name, float(weight or 1)) for name, weight in _LORA.findall(prompt))
    return (_LORA.sub("", prompt).strip(), loras) if loras else (prompt, ())


def write_loras(prompt: str, loras: Sequence[Lora]) -> str:
    """The prompt with the LoRAs behind it."""
    return " ".join([*([prompt] if prompt else []), *(f"<lora:{lora.path}:{lora.scale:g}>" for lora in loras)])
