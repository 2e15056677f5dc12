"""Pictures, videos, PDF pages and thumbnails, each file made here."""

from __future__ import annotations

import base64
import io
import struct
import threading
import warnings
import zlib
from itertools import pairwise

import av
import numpy as np
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ume_r1_rag.errors import ConfigError, FetchError, InputError
from ume_r1_rag.media import (
    MediaLimits,
    PdfPages,
    Span,
    VideoFile,
    load_image,
    load_video,
    parse_data_url,
    pick,
    thumbnail,
)
from ume_r1_rag.media import pdf as pdf_module
from ume_r1_rag.media import video as video_module

RED = (255, 0, 0)


def encoded(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def data_url(data, mime="image/png"):
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def near(pixel, wanted, tolerance=6):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, wanted, strict=True))


# Pictures


@pytest.mark.parametrize("how", ["pil", "path", "str", "bytes", "data URL"])
def test_every_source_gives_the_same_picture(tmp_path, how):
    image = Image.effect_noise((12, 7), 80).convert("RGB")
    data, path = encoded(image), tmp_path / "x.png"
    path.write_bytes(data)
    source = {"pil": image, "path": path, "str": str(path), "bytes": data, "data URL": data_url(data)}[how]
    assert load_image(source).tobytes() == image.tobytes()


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(form, orientation):
    upright = Image.new("RGB", (64, 32), "white")
    upright.paste("red", (0, 0, 16, 16))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, form, exif=exif)
    loaded = load_image(data)
    assert loaded.size == (64, 32)
    assert near(loaded.getpixel((4, 4)), RED, 40)
    assert near(loaded.getpixel((60, 28)), (255, 255, 255), 40)
    assert load_image(loaded).tobytes() == loaded.tobytes()
    with Image.open(io.BytesIO(data)) as opened:
        assert load_image(opened).tobytes() == loaded.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 0, 255))
    loaded = load_image(image.convert("P").convert("PA") if mode == "PA" else image.convert(mode))
    if mode != "PA":  # Pillow's way to PA drops the alpha
        assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((1, 1)) == (0, 0, 0)


def test_half_transparent_and_palette_transparency():
    assert load_image(Image.new("RGBA", (2, 2), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 1), 1)
    loaded = load_image(encoded(palette, transparency=0))
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((1, 1)) == (0, 255, 0)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(form):
    grey = np.array([[0, 257 * 10, 257 * 128, 65535]], np.uint16)
    loaded = load_image(encoded(Image.fromarray(grey), form))
    assert [loaded.getpixel((x, 0))[0] for x in range(4)] == [0, 10, 128, 255]


def test_deep_modes_in_memory():
    assert load_image(Image.new("I", (1, 1), 200)).getpixel((0, 0)) == (200,) * 3
    assert load_image(Image.new("F", (1, 1), 0.5)).getpixel((0, 0)) == (128,) * 3
    assert load_image(Image.new("F", (1, 1), 99.0)).getpixel((0, 0)) == (99,) * 3
    assert load_image(Image.new("1", (1, 1), 1)).getpixel((0, 0)) == (255,) * 3


def test_cmyk_and_animated_gif():
    assert near(
        load_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")).getpixel((3, 3)), RED
    )
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(gif).getpixel((2, 2)) == RED


def test_the_callers_image_is_left_alone():
    image = Image.new("RGB", (2, 2), "red")
    loaded = load_image(image)
    loaded.putpixel((0, 0), (0, 0, 0))
    assert image.getpixel((0, 0)) == RED


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + chunk + empty


@pytest.mark.parametrize("size", [(20_000, 20_000), (13_500, 13_500)])
def test_a_bomb_is_refused_by_its_header(size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(InputError, match="scale it down"):
            load_image(png_header(*size))


def test_own_limit_and_elongation():
    with pytest.raises(InputError, match="more than 99"):
        load_image(Image.new("RGB", (10, 10)), MediaLimits(max_pixels=99))
    assert load_image(Image.new("RGB", (400, 2))).size == (400, 2)
    for size in ((402, 2), (2, 402)):
        with pytest.raises(InputError, match="elongated"):
            load_image(Image.new("RGB", size))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused(tmp_path, form):
    data = encoded(Image.effect_noise((64, 64), 80), form)
    path = tmp_path / f"cut.{form.lower()}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cut"):
        load_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    st.binary(max_size=64),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP"]),
)
def test_garbage_never_raises_anything_else(tail, head):
    with pytest.raises(InputError):
        load_image(head + tail)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"<svg/>",
        b"%!PS-Adobe",
        "/no/such.png",
        "\0.png",
        "x" * 5000,
        "data:image/png;base64,@@",
        "data:x",
        3,
        None,
    ],
)
def test_unusable_sources(source):
    with pytest.raises(InputError) as caught:
        load_image(source)
    assert len(str(caught.value)) < 400


def test_folder_empty_file_and_closed_image(tmp_path):
    (tmp_path / "empty.png").touch()
    closed = Image.new("RGB", (2, 2))
    closed.close()
    for source, words in ((tmp_path, "folder"), (tmp_path / "empty.png", "empty.png"), (closed, "PIL image")):
        with pytest.raises(InputError, match=words):
            load_image(source)


def test_urls_are_off_by_default(monkeypatch):
    monkeypatch.delenv("UME_R1_ALLOW_FETCH", raising=False)
    with pytest.raises(FetchError, match="UME_R1_ALLOW_FETCH=1"):
        load_image("https://example.org/cat.png?token=secret")


def test_data_urls():
    assert parse_data_url("data:image/png;base64,AQID", 9) == ("image/png", b"\1\2\3")
    assert parse_data_url("data:image/png;charset=x;BASE64,-_8", 9)[1] == b"\xfb\xff"
    assert parse_data_url("data:image/png;base64,AQ%3D%3D\n", 9)[1] == b"\1"
    assert parse_data_url("data:,a%20b", 9) == ("", b"a b")
    for url in ("data:image/png;base64," + "A" * 100, "data:," + "a" * 10):
        with pytest.raises(InputError, match="more than 9 bytes: write them to a file") as caught:
            parse_data_url(url, 9)
        assert "AAAA" not in str(caught.value)


# Videos


def clip(count, *, codec="libx264", form="mp4", size=(64, 48), rate=10, gop=12, path=None):
    """A video whose n-th frame is grey 8 * n modulo 256; written to ``path`` with its index in front."""
    out = io.BytesIO()
    with av.open(
        path or out, "w", format=form, options={"movflags": "faststart"} if path else {}
    ) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", gop
        for index in range(count):
            pixels = np.full((size[1], size[0], 3), index * 8 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes() if path else out.getvalue()


def greys(frames):
    return [round(frame.getpixel((10, 10))[0] / 8) for frame in frames]


@pytest.fixture(scope="module")
def clip30():
    return clip(30)


@pytest.mark.parametrize(
    ("codec", "form"),
    [("libx264", "mp4"), ("libx264", "matroska"), ("libvpx", "webm"), ("mpeg4", "avi"), ("libx264", "avi"),
     ("libx264", "mpegts"), ("libx264", "h264"), ("mpeg4", "mov")],
)  # fmt: skip
def test_eight_of_eight_and_uniform_of_thirty(codec, form):
    assert greys(load_video(clip(8, codec=codec, form=form), 8)) == list(range(8))
    wanted = np.linspace(0, 29, 8, dtype=int).tolist()
    assert greys(load_video(clip(30, codec=codec, form=form), 8)) == wanted


@pytest.mark.parametrize("form", ["mp4", "matroska"])
@pytest.mark.parametrize("gop", [1, 5, 30, 1000])
def test_seeking_gives_the_same_frames(monkeypatch, form, gop):
    data = clip(30, form=form, gop=gop)
    monkeypatch.setattr(video_module, "_SEEK_ABOVE", 0)
    monkeypatch.setattr(video_module.VideoFile, "_decode", lambda *_: pytest.fail("did not seek"))
    for count in (1, 2, 3, 8, 29, 30):
        assert greys(load_video(data, count)) == np.linspace(0, 29, count, dtype=int).tolist()
    assert greys(load_video(data, 3, start_s=1.0, end_s=2.0)) == [10, 14, 19]


def test_hidden_packets_do_not_count():
    options = {"auto-alt-ref": "1", "lag-in-frames": "16"}
    data = clip(8, codec="libvpx", form="webm")
    assert greys(load_video(data, 8)) == list(range(8))
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(40):
            pixels = np.full((48, 64, 3), index * 6, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    assert len(load_video(out.getvalue(), 99)) == 40
    assert load_video(out.getvalue(), 8)[-1].getpixel((9, 9))[0] == pytest.approx(39 * 6, abs=6)


@pytest.mark.parametrize("how", ["path", "str", "data URL", "bytes"])
def test_video_sources(tmp_path, clip30, how):
    path = tmp_path / "x.mp4"
    path.write_bytes(clip30)
    source = {"path": path, "str": str(path), "bytes": clip30, "data URL": data_url(clip30, "video/mp4")}[how]
    frames = load_video(source, 2)
    assert greys(frames) == [0, 29]
    assert {(frame.mode, frame.size) for frame in frames} == {("RGB", (64, 48))}
    assert VideoFile(source).duration_s == pytest.approx(3.0)


def test_fewer_frames_than_asked_and_a_single_one(clip30):
    assert greys(load_video(clip(5), 8)) == [0, 1, 2, 3, 4]
    assert len(load_video(clip(1), 8)) == 1
    assert greys(load_video(clip30, 1)) == [0]
    assert VideoFile(clip(1)).duration_s == 0.0


def test_spans(clip30):
    assert greys(load_video(clip30, 99, start_s=1.0, end_s=1.5)) == [10, 11, 12, 13, 14]
    assert greys(load_video(clip30, 2, start_s=2.5)) == [25, 29]
    assert greys(load_video(clip30, 8, start_s=1.02, end_s=1.08)) == [10], "the frame on screen"
    assert greys(load_video(clip(30, form="h264"), 99, start_s=0.2, end_s=0.4)), "no timestamps at all"
    with pytest.raises(InputError, match=r"ends after 3\.00 s"):
        load_video(clip30, 8, start_s=4.0)
    for start, end in ((2.0, 1.0), (1.0, 1.0), (-1.0, None), (float("nan"), None)):
        with pytest.raises(ConfigError, match="no span"):
            load_video(clip30, 8, start_s=start, end_s=end)
    with pytest.raises(ConfigError, match="num_frames=0"):
        load_video(clip30, 0)


@pytest.mark.parametrize("form", ["mp4", "avi", "mpegts", "h264"])
@pytest.mark.parametrize("seek_above", [0, 400])
def test_segments_have_the_frames_of_their_spans(monkeypatch, form, seek_above):
    monkeypatch.setattr(video_module, "_SEEK_ABOVE", seek_above)
    data = clip(30, form=form, codec="mpeg4" if form == "avi" else "libx264")
    if form == "h264":  # without timestamps: 25 frames a second are taken for granted
        spans = [Span(0, 0.4), Span(0.4, 0.8), Span(0.8, None)]
    else:
        spans = [Span(0, 1), Span(1, 2), Span(2, None)]
    found = list(VideoFile(data).segments(spans, 4))
    assert [greys(frames) for frames in found] == [[0, 3, 6, 9], [10, 13, 16, 19], [20, 23, 26, 29]]
    alone = [load_video(data, 4, start_s=span.start_s, end_s=span.end_s) for span in spans]
    assert [greys(frames) for frames in alone] == [greys(frames) for frames in found]


def test_segments_decode_a_file_twice_however_many_they_are(monkeypatch):
    opened = []
    decoded = VideoFile._decoded
    monkeypatch.setattr(VideoFile, "_decoded", lambda *of: opened.append(1) or decoded(*of))
    video = VideoFile(clip(30, form="mpegts"))
    spans = [Span(max(0, n / 10 - 0.05), n / 10 + 0.05) for n in range(30)]
    assert [greys(frames) for frames in video.segments(spans, 8)] == [[n] for n in range(30)]
    assert len(opened) == 2


def test_a_segment_between_two_frames_shows_the_one_on_screen():
    spans = [Span(0, 0.05), Span(0.05, 0.09), Span(0.1, 0.15), Span(5, 6)]
    *found, beyond = VideoFile(clip(3)).segments(spans, 8)
    assert [greys(frames) for frames in found] == [[0], [0], [1]]
    assert isinstance(beyond, InputError)
    assert "ends after 0.30 s" in str(beyond)


def test_a_broken_part_costs_its_own_segment_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(video_module, "_SEEK_ABOVE", 0)
    seek = VideoFile._seek

    def breaks(self, packets, wanted):
        if wanted[0] == 10:
            raise InputError("damaged")
        return seek(self, packets, wanted)

    monkeypatch.setattr(VideoFile, "_seek", breaks)
    first, second, third = VideoFile(clip(30)).segments([Span(0, 1), Span(1, 2), Span(2, None)], 2)
    assert (greys(first), greys(third)) == ([0, 9], [20, 29])
    assert str(second) == "damaged"
    (tmp_path / "x.mp4").write_bytes(b"rubbish" * 99)
    broken = list(VideoFile(tmp_path / "x.mp4").segments([Span(0, 1), Span(1, 2)], 2))
    assert [type(error) for error in broken] == [InputError] * 2


def test_lists_of_frames(tmp_path):
    frames = [Image.new("RGB", (40, 30), (8 * n,) * 3) for n in range(30)]
    assert greys(load_video(frames, 8)) == np.linspace(0, 29, 8, dtype=int).tolist()
    frames[0].save(tmp_path / "0.png")
    mixed = [tmp_path / "0.png", encoded(frames[1]), Image.new("RGB", (10, 10), (16,) * 3)]
    loaded = load_video(mixed, 8)
    assert greys(loaded) == [0, 1, 2]
    assert {frame.size for frame in loaded} == {(40, 30)}
    unread = [frames[0], "/no/such.png", frames[2]]
    assert len(load_video(unread, 2)) == 2, "only what is taken is loaded"
    with pytest.raises(InputError, match="empty list"):
        load_video([], 8)
    with pytest.raises(InputError, match="cut the list"):
        load_video(frames, 8, start_s=1.0)


def test_large_frames_are_scaled_down(clip30):
    frame = load_video(clip30, 1, limits=MediaLimits(max_frame_pixels=800))[0]
    assert frame.size == (32, 24)
    assert load_video([Image.new("RGB", (64, 48))], 1, limits=MediaLimits(max_frame_pixels=800))[0].size == (
        32,
        24,
    )
    with pytest.raises(InputError, match="frames of 64x48"):
        load_video(clip30, 1, limits=MediaLimits(max_pixels=99))


def test_rotation_is_applied():
    data = bytearray(clip(2, codec="mpeg4"))
    one, w = struct.pack(">i", 1 << 16), struct.pack(">i", 1 << 30)
    zero, minus = bytes(4), struct.pack(">i", -(1 << 16))
    upright = one + zero * 3 + one + zero * 3 + w
    place = data.index(upright, data.index(b"tkhd"))
    data[place : place + 36] = zero + one + zero + minus + zero * 4 + w
    out = io.BytesIO()
    assert load_video(bytes(data), 1)[0].size == (48, 64)
    # Which way: a frame with a red left half, turned clockwise as phones ask for it, is red at the top.
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[:, :32, 0] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(out.getvalue())
    place = data.index(upright, data.index(b"tkhd"))
    data[place : place + 36] = zero + one + zero + minus + zero * 4 + w
    frame = load_video(bytes(data), 1)[0]
    assert frame.getpixel((24, 5))[0] > 150
    assert frame.getpixel((24, 60))[0] < 100


def test_sound_alone_is_refused():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no picture"):
        load_video(out.getvalue(), 8)


def test_truncated_and_corrupt_videos(tmp_path, clip30):
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip30[: len(clip30) // 2])  # the index is at the end
    with pytest.raises(InputError, match="cut"):
        load_video(path, 8)
    early = clip(60, path=tmp_path / "whole.mp4")
    with pytest.raises(InputError, match="truncated"):
        load_video(early[: early.index(b"mdat") + 300], 8)
    for junk in (b"\0" * 2000, b"GIF89a", clip30[:40], b"<html>" * 99, b"RIFF\0\0\0\0AVI " + b"\0" * 500):
        with pytest.raises(InputError):
            load_video(junk, 8)


def test_a_playlist_opens_nothing(tmp_path):
    (tmp_path / "secret.ts").write_bytes(clip(5, form="mpegts"))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "x.mp4").write_text(playlist)
    for source in (
        playlist.encode(),
        tmp_path / "x.mp4",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.ts".encode(),
    ):
        with pytest.raises(InputError):
            load_video(source, 8)


@given(st.integers(1, 5000), st.integers(1, 64))
def test_pick_is_ascending_uniform_and_bounded(count, wanted):
    picked = pick(count, wanted)
    assert len(picked) == min(count, wanted)
    assert picked[0] == 0
    assert all(a < b for a, b in pairwise(picked))
    assert picked[-1] == (count - 1 if wanted > 1 or count == 1 else 0)


# PDF pages


def pdf_file(path, sizes=((612, 792),), text="Hello page"):
    """Writes a PDF by hand: one Helvetica line per page."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    for number, (width, height) in enumerate(sizes, 1):
        content = f"BT /F1 24 Tf 20 {height / 2} Td ({text} {number}) Tj ET"
        font = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        objects += [
            (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] "
                f"/Resources << /Font {font} >> /Contents {len(objects) + 2} 0 R >>"
            ),
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(sizes)))
    objects[1] = f"<< /Type /Pages /Kids [{kids}] /Count {len(sizes)} >>"
    out, places = "%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    path.write_bytes(out.encode("latin-1"))
    return path


def test_pages_render_and_have_text(tmp_path):
    with PdfPages(pdf_file(tmp_path / "a.pdf", [(612, 792), (792, 612)])) as pdf:
        assert len(pdf) == 2
        first, second = pdf.render(1, 1_003_520), pdf.render(2, 1_003_520)
        assert first.mode == "RGB"
        assert first.size == second.size[::-1]
        assert first.getpixel((0, 0)) == (255, 255, 255)
        assert min(first.convert("L").tobytes()) < 60, "the text is drawn"
        assert [pdf.text(1), pdf.text(2)] == ["Hello page 1", "Hello page 2"]
        for page in (0, 3, -1):
            with pytest.raises(InputError, match=f"no page {page}"):
                pdf.render(page, 1000)
        with pytest.raises(ConfigError, match="max_pixels=0"):
            pdf.render(1, 0)
    with pytest.raises(InputError, match="closed"):
        pdf.text(1)
    pdf.close()


@pytest.mark.parametrize("side", [612, 200, 333.3, 1000])
def test_a_square_page_is_exactly_224(tmp_path, side):
    with PdfPages(pdf_file(tmp_path / "a.pdf", [(side, side)])) as pdf:
        assert pdf.render(1, 50_176).size == (224, 224)


@given(st.floats(1, 20_000), st.floats(1, 20_000), st.integers(1, 3_000_000))
def test_a_page_never_exceeds_its_pixels(width, height, max_pixels):
    size = pdf_module._pixel_size(width, height, max_pixels)
    assert 1 <= size[0] * size[1] <= max_pixels
    assert size[0] <= width * 300 / 72 + 1
    if min(size) > 30 and max_pixels < width * height * (300 / 72) ** 2:  # 300 dpi are not reached
        assert size[0] * size[1] > 0.9 * max_pixels
        assert size[0] / size[1] == pytest.approx(width / height, rel=0.06)


def test_small_pages_stop_at_300_dpi(tmp_path):
    with PdfPages(pdf_file(tmp_path / "a.pdf", [(72, 36)])) as pdf:
        assert pdf.render(1, 10**7).size == (300, 150)


def test_unusable_pdfs(tmp_path):
    whole = pdf_file(tmp_path / "a.pdf").read_bytes()
    locked = whole.replace(
        b"/Root 1 0 R",
        b"/Root 1 0 R /ID [<00><00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <"
        + b"11" * 32 + b"> /U <" + b"22" * 32 + b"> >>",
    )  # fmt: skip
    for name, data, words in (
        ("locked.pdf", locked, "encrypted"),
        ("junk.pdf", b"%PDF-1.7 junk", "cannot be opened"),
        ("empty.pdf", b"", "empty.pdf"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=words):
            PdfPages(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        PdfPages(tmp_path / "none.pdf")


def test_pages_from_many_threads(tmp_path):
    path = pdf_file(tmp_path / "a.pdf", [(300, 300)] * 4)
    found, errors = [], []

    def work():
        try:
            for _ in range(5):
                with PdfPages(path) as pdf:
                    found.extend((pdf.render(page, 10_000).size, pdf.text(page)) for page in (1, 2, 3, 4))
        except Exception as error:  # noqa: BLE001 - whatever a thread raises must reach the test
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(found) == 80
    assert len(set(found)) == 4


def test_forms_made_by_pdfium_open_too(tmp_path):
    made = pypdfium2.PdfDocument.new()
    made.new_page(100, 50).close()
    made.save(tmp_path / "blank.pdf")
    made.close()
    with PdfPages(tmp_path / "blank.pdf") as pdf:
        assert pdf.text(1) == ""
        assert pdf.render(1, 5000).size == (100, 50)


# Thumbnails


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1000, 500), (320, 160)), ((200, 100), (200, 100)), ((40, 20), (160, 80)), ((100, 9), (100, 9)),
     ((128, 1), (128, 1)), ((1, 1), (160, 160)), ((3000, 2), (320, 1))],
)  # fmt: skip
def test_thumbnail_sizes(size, wanted):
    data = thumbnail(Image.new("RGB", size, "red"))
    assert data.startswith(b"\xff\xd8\xff")
    assert Image.open(io.BytesIO(data)).size == wanted


def test_noise_has_a_thumbnail_too():
    """Its optimised JPEG would be larger than the buffer that Pillow gives it."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert Image.open(io.BytesIO(thumbnail(Image.fromarray(noise)))).size == (300, 200)


def test_small_thumbnails_keep_their_pixels():
    image = Image.new("RGB", (2, 1), "red")
    image.putpixel((1, 0), (0, 0, 255))
    shown = Image.open(io.BytesIO(thumbnail(image)))
    assert shown.size == (160, 80)
    assert near(shown.getpixel((75, 40)), RED, 20)
    assert near(shown.getpixel((84, 40)), (0, 0, 255), 20)
    with pytest.raises(ConfigError):
        thumbnail(image, side=0)
