"""The wire's name and how it shows a picture: what its client and provider face share."""

from typing import Any

from adapters import imaging
from adapters.ir import Delivery, Media

NAME = "interactions"
FORMAT = "response_format."  # what the path of an extra about the picture begins with


def image_content(media: Media, delivery: Delivery) -> dict[str, Any]:
    mime = media.mime or imaging.sniff_mime(media.data) or "image/png"
    where = "uri" if delivery is Delivery.URL and media.url else "data"
    return {"type": "image", "mime_type": mime, where: imaging.deliver(media, delivery)}
