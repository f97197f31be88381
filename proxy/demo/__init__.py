"""``muxel demo``: sandbox and sidecar as two processes, and a dozen prompts through the unchanged official SDK.

``run`` tells the story, ``sheet`` puts the pictures on one page, ``prompts.yaml`` is what is asked for. Nothing here is
used by a serving Muxel.
"""
