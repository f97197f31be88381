"""What both faces of the Ideogram wire call things. Must not know which face asks."""

NAME = "ideogram"
SPEEDS = {"low": "TURBO", "medium": "DEFAULT", "high": "QUALITY"}  # canonical quality -> rendering_speed
FASTEST = "FLASH"  # below TURBO; only this wire has it
CHARACTERS = "character_reference_images"  # in the extras: how many of the references, counted from the end
