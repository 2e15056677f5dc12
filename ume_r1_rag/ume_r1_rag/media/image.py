"""Loading pictures: whatever the file, an upright RGB image comes out, or an error that names the file."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import describe, is_pil_image
from ume_r1_rag.errors import InputError
from ume_r1_rag.media.limits import LIMITS, MediaLimits
from ume_r1_rag.media.source import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.types import ImageSource

# No EPS (runs Ghostscript), no PDF, no WMF, and none of the rarities whose parsers see few eyes.
_FORMATS = "PNG JPEG MPO GIF WEBP BMP DIB TIFF PPM ICO AVIF HEIF JPEG2000 QOI".split()

_ORIENTATION = 0x0112


def load_image(source: ImageSource, limits: MediaLimits = LIMITS, *, fetcher: Fetcher | None = None) -> Image:
    """Returns a picture as an RGB image of its own, upright, on white.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, and of an
    animation the first frame is taken (of an open PIL image the current one). No colour profile is applied.

    Args:
        source: a PIL image, a path, a URL, a data URL or encoded bytes.
        limits: what is refused.
        fetcher: how to get a URL; by default URLs are refused unless ``UME_R1_ALLOW_FETCH=1``.

    Raises:
        InputError: the file is absent, broken, no picture, too large or too elongated.
        FetchError: the URL was refused or could not be had.
    """
    with _opened(source, limits, fetcher) as image:
        _check_size(image.size, source, limits)
        image.load()
        # After load: Pillow turns a TIFF upright by itself and then drops the tag.
        orientation = _orientation(image)
        return _upright(_to_rgb(image), orientation)


@contextmanager
def _opened(source: ImageSource, limits: MediaLimits, fetcher: Fetcher | None) -> Iterator[Image]:
    """Yields an image whose header was read; whatever Pillow raises inside becomes ours."""
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    if is_pil_image(source):
        origin: Any = None
    else:
        origin = open_source(source, "image", limits, fetcher)
        pil.init()
    try:
        if origin is None:
            yield source  # type: ignore[misc]  # narrowed by is_pil_image
            return
        formats = [name for name in _FORMATS if name in pil.OPEN]
        with pil.open(origin if isinstance(origin, Path) else BytesIO(origin), formats=formats) as image:
            yield image
    except (InputError, MemoryError):
        raise
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise InputError(
            f"image {describe(source)} is larger than Pillow decodes ({error}): scale it down"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"image {describe(source)} is of no known format: convert it to PNG or JPEG"
        ) from error
    except Exception as error:  # plugins raise all sorts: OSError, SyntaxError, struct.error, KeyError ...
        raise InputError(
            f"image {describe(source)} cannot be decoded ({type(error).__name__}: {str(error)[:120]}): "
            "it is truncated or corrupt; save or download it again"
        ) from error


def _check_size(size: tuple[int, int], source: ImageSource, limits: MediaLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"image {describe(source)} is empty ({width}x{height}): give one with pixels")
    if width * height > limits.max_pixels:
        raise InputError(
            f"image {describe(source)} has {width}x{height} pixels, more than {limits.max_pixels}: "
            "scale it down"
        )
    if max(size) > limits.max_aspect * min(size):
        raise InputError(
            f"image {describe(source)} is {width}x{height}, more elongated than {limits.max_aspect:g}:1, "
            "which the model's processor refuses: crop it or pad it"
        )


def _orientation(image: Image) -> int:
    """Returns the EXIF orientation 1..8; 1 if there is none or the EXIF is broken."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1  # broken metadata is no reason to refuse a picture
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image, orientation: int) -> Image:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _to_rgb(image: Image) -> Image:
    """Returns a copy in RGB, without metadata, so that nothing turns it a second time."""
    from PIL import Image as pil

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_grey(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = pil.new("RGB", layer.size, "white")
        rgb.paste(layer, mask=layer.getchannel("A"))
        return rgb
    rgb = image.copy() if image.mode == "RGB" else image.convert("RGB")
    rgb.info = {}
    return rgb


def _to_grey(image: Image) -> Image:
    """Returns 8-bit grey of a deep image, which Pillow itself would clip to white.

    16-bit values are divided by 257. Mode ``I`` counts as 16-bit if a value exceeds 255, mode ``F`` as
    0..1 if none exceeds 1; what lies outside the range is clipped.
    """
    import numpy as np
    from PIL import Image as pil

    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values)
        scale = 255.0 if float(values.max()) <= 1.0 else 1.0
    else:
        scale = 1 / 257 if image.mode != "I" or int(values.max()) > 255 else 1.0
    return pil.fromarray(np.clip(np.rint(values * np.float32(scale)), 0, 255).astype(np.uint8))
