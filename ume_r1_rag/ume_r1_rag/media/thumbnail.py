"""Small previews that travel in an index's payload."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

_SMALL = 128
_SMALL_SHOWN = 160


def thumbnail(image: Image, side: int = 320) -> bytes:
    """Returns a JPEG of an RGB image.

    A larger image is scaled so that its longer side is ``side``. One whose longer side is under 128 pixels
    is enlarged by a whole factor to at most 160 (and ``side``) without smoothing, so that its pixels stay
    sharp. Anything between keeps its size.

    Args:
        image: the image, upright.
        side: the longer side at most, in pixels.

    Raises:
        ConfigError: ``side`` is not positive.
    """
    from PIL.Image import Resampling

    if side < 1:
        raise ConfigError(f"side={side} is no thumbnail size: give a positive number of pixels")
    longest = max(image.size)
    small = image if image.mode == "RGB" else image.convert("RGB")
    if longest > side:
        size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
        small = small.resize(size, Resampling.LANCZOS, reducing_gap=1.5)
    elif longest < _SMALL:
        factor = max(1, min(_SMALL_SHOWN, side) // longest)
        small = small.resize((image.width * factor, image.height * factor), Resampling.NEAREST)
    out = BytesIO()
    # Full chroma: pages and screenshots are mostly thin coloured lines. Not optimised: such a JPEG must fit
    # into a buffer whose size Pillow guesses, and that of a noisy picture does not.
    small.save(out, "JPEG", quality=85, subsampling=0)
    return out.getvalue()
