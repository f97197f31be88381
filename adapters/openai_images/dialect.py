"""What both faces of the OpenAI Images dialect know. Used by ``client`` and ``provider`` alone."""

from adapters.ir import Operation

NAME = "openai_images"
OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT, Operation.INPAINT})
REFUSED = "moderation_blocked"  # the code of a refusal, Azure's too
