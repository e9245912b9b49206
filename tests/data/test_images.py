from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pellucid.core.errors import DataError, MachineError, UsageError
from pellucid.data import images

RNG = np.random.default_rng(0)


def noise(height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def smooth(height: int = 60, width: int = 80) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x, 3 * y, x + y], -1).astype(np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_zeros(width: int, height: int) -> bytes:
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


LOSSLESS = [
    (suffix, channels, dtype)
    for suffix, dtype, all_channels in [
        (".png", np.uint8, (1, 2, 3, 4)),
        (".png", np.uint16, (1, 3, 4)),
        (".tif", np.uint8, (1, 3, 4)),
        (".tiff", np.uint16, (1, 3)),
        (".bmp", np.uint8, (1, 3)),
        (".ppm", np.uint8, (3,)),
        (".ppm", np.uint16, (3,)),
        (".pgm", np.uint8, (1,)),
        (".pgm", np.uint16, (1,)),
    ]
    for channels in all_channels
]


@pytest.mark.parametrize(("suffix", "channels", "dtype"), LOSSLESS)
def test_what_is_written_is_read(tmp_path: Path, suffix: str, channels: int, dtype: type) -> None:
    image, path = noise(13, 17, channels, dtype), tmp_path / f"x{suffix}"
    images.write(path, image)
    found = images.read(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)
    assert images.header(path) == images.Header(13, 17, channels, np.dtype(dtype).itemsize * 8)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_orientation_as_pillow(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, picture = tmp_path / f"x{suffix}", Image.fromarray(smooth())
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    found, header = images.read(path), images.header(path)
    assert found.shape == expected.shape == (header.height, header.width, 3)
    # Two decoders of a JPEG may differ by the rounding of the transform; a wrong turn differs by
    # tens.
    assert np.abs(found.astype(int) - expected).mean() < 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_16_bit_colour(tmp_path: Path, suffix: str) -> None:
    image, path = noise(5, 9, 3, np.uint16), tmp_path / f"x{suffix}"
    if suffix == ".png":
        exif = Image.Exif()
        exif[0x0112] = 6
        images.write(path, image)
        data = path.read_bytes()
        path.write_bytes(
            data[:33] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[33:]
        )
        np.testing.assert_array_equal(images.read(path), np.rot90(image, -1))
        assert images.header(path) == images.Header(9, 5, 3, 16)
    else:
        images.write(path, image)
        np.testing.assert_array_equal(images.read(path), image)


@pytest.mark.parametrize(
    ("name", "mode", "options", "channels"),
    [
        ("x.png", "1", {}, 1),
        ("x.pbm", "1", {}, 1),
        ("x.png", "L", {"transparency": 3}, 2),
        ("x.png", "LA", {}, 2),
        ("x.png", "P", {}, 3),
        ("x.png", "P", {"transparency": 3}, 4),
        ("x.gif", "P", {}, 3),
        ("x.gif", "RGBA", {}, 4),
        ("x.png", "RGB", {"transparency": (3, 3, 3)}, 4),
        ("x.webp", "RGBA", {"lossless": True, "exact": True}, 4),
        ("x.jpg", "L", {}, 1),
        ("x.jpg", "CMYK", {}, 3),
        ("x.tif", "CMYK", {}, 3),
        ("x", "RGB", {"format": "PNG"}, 3),
        ("x.dat", "RGB", {"format": "PNG"}, 3),
        ("x.JPEG", "RGB", {"format": "JPEG"}, 3),
    ],
)
def test_modes_as_pillow_converts_them(
    tmp_path: Path, name: str, mode: str, options: dict, channels: int
) -> None:
    path = tmp_path / name
    picture = Image.fromarray(smooth())
    if channels == 4 and mode != "RGB":
        picture.putalpha(Image.fromarray(smooth()[..., 0]).point(lambda value: 255 * (value > 80)))
    picture.convert(mode).save(path, **options)
    with Image.open(path) as stored:
        expected = np.asarray(
            stored.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
        ).reshape(60, 80, channels)
    found = images.read(path)
    assert found.dtype == np.uint8
    assert images.header(path) == images.Header(60, 80, channels, 8)
    np.testing.assert_allclose(
        found.astype(int), expected, atol=0 if path.suffix.lower() not in (".jpg", ".jpeg") else 3
    )


def test_a_12_bit_pgm_is_spread_over_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "x.pgm"
    path.write_bytes(b"P5 2 1 4095\n" + struct.pack(">2H", 0, 4095))
    assert images.read(path)[..., 0].tolist() == [[0, 65535]]


def test_deep_palette_of_floats_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    with pytest.raises(DataError, match=r"x\.tif.*8 nor 16 bit"):
        images.header(path)


CUT = [
    ".jpg",
    ".png",
    ".bmp",
    ".gif",
    ".tif",
    ".webp",
    ".ppm",
    "16.png",
    "16.tif",
    "16.ppm",
    "progressive.jpg",
]


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_cut_picture_is_refused(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / f"x{name}"
    if name.startswith("16"):
        images.write(path, noise(64, 64, 3, np.uint16))
    else:
        Image.fromarray(noise(64, 64, 3)).save(
            path, **({"progressive": True} if "progressive" in name else {})
        )
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"x.*(cut off|damaged)"):
        images.read(path)


def test_a_jpeg_whose_end_is_zeros_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(noise(64, 64, 3)).save(path)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))
    with pytest.raises(DataError, match="zeros"):
        images.read(path)


def test_a_jpeg_with_something_behind_its_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(smooth()).save(path)
    expected = images.read(path)
    path.write_bytes(path.read_bytes() + b"a trailer of some camera")
    assert np.abs(images.read(path).astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello, I am no picture at all", "text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"%PDF-1.7 ....", "PDF"),
        (b"PK\x03\x04aaaaaaaa", "zip"),
        (b"\x80\x04\x95aaaaaaaa", "pickle"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "HEIC"),
        (bytes(100), "zeros"),
        (b"\x07\xfe\x99\x01", "unknown"),
        (b"\xff\xd8\xff\xe0junk", "JPEG picture with a damaged"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for look in (images.header, images.read):
        with pytest.raises(DataError, match=rf"x\.jpg.*{said}") as caught:
            look(path)
        assert "\n" not in str(caught.value)


def test_mislabelled_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(smooth()).save(path, format="PNG")
    with pytest.raises(DataError, match=r"mislabelled.*PNG.*rename it to x\.png"):
        images.header(path)


def test_folders_missing_files_and_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="is a folder"):
        images.read(tmp_path)
    with pytest.raises(DataError, match="no such picture"):
        images.read(tmp_path / "absent.png")
    path = tmp_path / "x.png"
    images.write(path, smooth())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"x\.png: may not be read"):
        images.read(path)


BOMB = """
import resource, sys
from pathlib import Path
from pellucid.data import images
from pellucid.core.errors import DataError
import cv2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for look in (images.header, images.read):
    try:
        look(Path(sys.argv[1]))
    except DataError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KB on Linux only")
def test_a_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_zeros(13_000, 13_000))
    assert path.stat().st_size < 200_000
    run = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, check=True
    )
    *said, extra = run.stdout.splitlines()
    assert len(said) == 2
    assert all("13000×13000 pixels, more than 100 megapixels" in line for line in said)
    assert int(extra) < 50


def test_writing_refuses_what_a_format_cannot_hold(tmp_path: Path) -> None:
    for name, image in [
        ("x.xyz", smooth()),
        ("x", smooth()),
        ("x.jpg", noise(4, 4, 4)),
        ("x.jpg", noise(4, 4, 3, np.uint16)),
        ("x.png", np.ones((4, 4, 3), np.float32)),
        ("x.png", np.ones((4, 4), np.uint8)),
    ]:
        with pytest.raises(UsageError, match="x"):
            images.write(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def test_writing_into_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        images.write(tmp_path / "file" / "x.png", smooth())


def test_reading_never_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(smooth()).save(path)
    os.utime(path, ns=(1, 1))
    content = path.read_bytes()
    images.read(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns, len(list(tmp_path.iterdir()))) == (
        content,
        1,
        1,
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_a_picture_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))
    stored = io.BytesIO()
    Image.fromarray(smooth(20, 20)).save(stored, kind)
    content = bytearray(stored.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(content)
    try:
        image = images.read(path)
    except DataError:
        return
    assert image.ndim == 3
    assert image.dtype in (np.uint8, np.uint16)


sides = st.integers(1, 90)


@settings(max_examples=80, deadline=None)
@given(
    height=sides,
    width=sides,
    size=st.tuples(sides, sides),
    channels=st.sampled_from([1, 2, 3, 4]),
    deep=st.booleans(),
)
def test_fit_places_the_whole_picture(
    height: int, width: int, size: tuple[int, int], channels: int, deep: bool
) -> None:
    image = np.full(
        (height, width, channels), 40_000 if deep else 200, np.uint16 if deep else np.uint8
    )
    fill = list(range(1, channels + 1))
    view, transform = images.fit(image, size, fill)
    assert view.shape == (*size, channels)
    assert view.dtype == image.dtype
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    drawn = transform.forward(corners)
    np.testing.assert_allclose(transform.backward(drawn), corners, atol=1e-9)
    # The corners land on whole pixels, the picture is exactly between them, and all else is fill.
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-9)
    (left, top), (right, bottom) = drawn[0].round().astype(int), drawn[2].round().astype(int)
    inside = np.zeros(size, bool)
    inside[top:bottom, left:right] = True
    assert (view[inside] == image[0, 0]).all()
    assert (view[~inside] == fill).all()
    # In the middle, touching two sides, and the aspect ratio kept within the rounding to whole
    # pixels.
    assert abs(left - (size[1] - right)) <= 1
    assert abs(top - (size[0] - bottom)) <= 1
    scale = min(size[0] / height, size[1] / width)
    assert abs((right - left) - scale * width) <= 1
    assert abs((bottom - top) - scale * height) <= 1


def test_fit_keeps_points_on_their_pixels() -> None:
    image = np.zeros((40, 100, 1), np.uint8)
    image[8:12, 72:76] = 255
    for size in ((80, 200), (20, 50), (64, 64), (300, 100)):
        view, transform = images.fit(image, size, 0)
        y, x = np.indices(size) + 0.5
        weight = view[..., 0].astype(float)
        centre = np.array([[(x * weight).sum(), (y * weight).sum()]]) / weight.sum()
        np.testing.assert_allclose(transform.backward(centre), [[74, 10]], atol=0.3)


def test_fit_is_the_identity_at_the_same_size() -> None:
    image = noise(7, 9, 3)
    view, transform = images.fit(image, (7, 9), 0)
    np.testing.assert_array_equal(view, image)
    np.testing.assert_array_equal(transform.matrix, np.eye(2, 3))


def test_fit_shrinks_by_averages() -> None:
    image = noise(8, 8, 3)
    view, _ = images.fit(image, (4, 4), 0)
    expected = image.reshape(4, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(view, expected, atol=0.51)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels(dtype: type) -> None:
    white = np.iinfo(dtype).max
    rgba = noise(6, 7, 4, dtype)
    alpha = rgba[..., 3:].astype(float) / white
    rgb = images.to_channels(rgba, 3)
    np.testing.assert_allclose(rgb, rgba[..., :3] * alpha + white * (1 - alpha), atol=0.51)
    grey = images.to_channels(rgb, 1)
    np.testing.assert_allclose(
        grey[..., 0], rgb @ np.array([0.299, 0.587, 0.114]), atol=1 + white / 2**14
    )
    np.testing.assert_array_equal(images.to_channels(grey, 3), np.repeat(grey, 3, 2))
    np.testing.assert_array_equal(images.to_channels(rgba, 1), grey)
    la = rgba[..., [0, 3]]
    np.testing.assert_array_equal(images.to_channels(la, 1)[..., 0], rgb[..., 0])
    assert images.to_channels(la, 3).shape == (6, 7, 3)
    assert images.to_channels(rgba, 4) is rgba
    assert {images.to_channels(rgba, wanted).dtype for wanted in (1, 3)} == {np.dtype(dtype)}
    for wanted in (2, 5, 0):
        with pytest.raises(DataError, match="channels"):
            images.to_channels(rgb, wanted)
    with pytest.raises(DataError, match="channels"):
        images.to_channels(noise(4, 4, 6), 3)


def test_real_pictures_as_pillow_reads_them(data_root: Path) -> None:
    paths = [
        *sorted((data_root / "imagenet_samples").iterdir()),
        *sorted((data_root / "att_faces" / "s1").iterdir())[:2],
    ]
    paths += sorted((data_root / "hymenoptera300" / "ants").iterdir())[:5]
    assert {path.suffix for path in paths} >= {".bmp", ".jpg", ".pgm"}
    for path in paths:
        found, header = images.read(path), images.header(path)
        with Image.open(path) as stored:
            expected = np.atleast_3d(np.asarray(ImageOps.exif_transpose(stored)))
        assert found.shape == expected.shape == (header.height, header.width, header.channels)
        assert np.abs(found.astype(int) - expected).mean() < 1
