"""The words of DashScope that both of its faces use: paths, functions of the editing model, limits.

Imported by ``client`` and ``provider`` alone. Must not translate anything.
"""

from collections.abc import Mapping

from adapters.ir import Operation

NAME = "dashscope"
OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT, Operation.INPAINT, Operation.UPSCALE})
PATHS: Mapping[str, str] = {  # by the name of the API; the first answers with the pictures, the others with a task
    "multimodal": "/services/aigc/multimodal-generation/generation",
    "text2image": "/services/aigc/text2image/image-synthesis",
    "image2image": "/services/aigc/image2image/image-synthesis",
    "image-generation": "/services/aigc/image-generation/generation",
}
FUNCTIONS: Mapping[str, Operation] = {  # of wanx2.1-imageedit, those that have a canonical form
    "description_edit": Operation.EDIT,
    "description_edit_with_mask": Operation.INPAINT,
    "super_resolution": Operation.UPSCALE,
}
MAX_UPSCALE = 4
MAX_SEED = 2**31 - 1
