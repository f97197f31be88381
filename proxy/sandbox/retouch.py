"""Work on a given picture that is no painting: enlarged, cut out, extended, cleaned, traced.

Called by ``render`` with decoded pictures. What each of these does can be told from the result by eye and by test; none
of it pretends to be a model.
"""

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from adapters.ir import Margins

TRACE_EDGE = 48  # a traced picture is this many blocks wide at its longer edge
TRACE_COLOURS = 12


def enlarged(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at ``size``, a little sharper."""
    return image.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.UnsharpMask(2, 60, 3))


def cut_out(image: Image.Image) -> Image.Image:
    """The middle of the picture, RGBA, with nothing around it: an ellipse stands for the subject."""
    cover = Image.new("L", image.size, 0)
    width, height = image.size
    ImageDraw.Draw(cover).ellipse((width * 0.12, height * 0.08, width * 0.88, height * 0.94), fill=255)
    subject = image.copy()
    subject.putalpha(cover.filter(ImageFilter.GaussianBlur(min(image.size) / 160)))
    return subject


def placed(subject: Image.Image, scene: Image.Image) -> Image.Image:
    """The subject in front of another scene of the same size."""
    scene.paste(subject, mask=subject.getchannel("A"))
    return scene


def extended(image: Image.Image, margins: Margins, scene: Image.Image) -> Image.Image:
    """``scene``, which is larger by the margins, with the untouched picture in its place."""
    scene.paste(image, (margins.left, margins.top))
    return scene


def cleaned(image: Image.Image, mask: Image.Image) -> Image.Image:
    """What the mask covers, replaced by the blurred colours of what is around it."""
    around = image.copy()
    around.paste(image.resize((1, 1)).resize(image.size), mask=mask)
    blurred = around.filter(ImageFilter.GaussianBlur(max(8, min(image.size) // 12)))
    image.paste(blurred, mask=ImageChops.lighter(mask, mask.filter(ImageFilter.GaussianBlur(2))))
    return image


def traced(image: Image.Image) -> bytes:
    """The picture as SVG, in runs of few colours."""
    width, height = image.size
    edge = max(width, height)
    small = image.resize((max(1, width * TRACE_EDGE // edge), max(1, height * TRACE_EDGE // edge)))
    flat = small.quantize(TRACE_COLOURS).convert("RGB")
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ']
    lines.append(f'viewBox="0 0 {flat.width} {flat.height}" shape-rendering="crispEdges">')
    for y in range(flat.height):
        start = 0
        row = [flat.getpixel((x, y)) for x in range(flat.width)]
        for x in range(1, flat.width + 1):
            if x == flat.width or row[x] != row[start]:
                red, green, blue = row[start]  # type: ignore[misc]
                run = f"M{start} {y}h{x - start}v1h{start - x}z"
                lines.append(f'<path fill="#{red:02x}{green:02x}{blue:02x}" d="{run}"/>')
                start = x
    return "".join([*lines, "</svg>"]).encode()
