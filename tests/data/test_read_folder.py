"""Folders of images by class."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradtape.data import ValueRange, read
from gradtape.errors import DataError


def grey(value: int, height: int = 6, width: int = 5) -> np.ndarray:
    picture = np.full((height, width), value, dtype=np.uint8)
    picture[1, 3] = 200
    return picture


def colour(red: int, green: int, blue: int) -> np.ndarray:
    return np.tile(np.array([red, green, blue], dtype=np.uint8), (6, 5, 1))


def pets(**others: object) -> dict[str, object]:
    """Two classes of two images; file names are given as class__name."""
    files: dict[str, object] = {"cat/1.png": grey(0), "cat/2.png": grey(1), "dog/1.png": grey(2), "dog/2.png": grey(3)}
    return files | {name.replace("__", "/") + ".png": picture for name, picture in others.items()}


def test_grey_images_in_natural_order(write_images):
    folder = write_images(
        {f"{label}/{stem}.png": grey(10 * label + i) for label in (10, 2) for i, stem in enumerate(["9", "10", "a"])}
    )
    data = read(folder)
    assert data.classes == ("2", "10")
    assert data.origins == ("2/9.png", "2/10.png", "2/a.png", "10/9.png", "10/10.png", "10/a.png")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.images.shape == (6, 1, 6, 5)
    assert data.images[:, 0, 0, 0] == pytest.approx(np.array([20, 21, 22, 100, 101, 102]) / 255)
    assert data.images[0, 0, 1, 3] == pytest.approx(200 / 255)
    assert data.images[0, 0, 3, 1] == pytest.approx(20 / 255)
    assert (data.name, data.kind, data.scale) == ("pets", "folder", ValueRange(0, 255, "uint8"))
    assert data.note == "6 images of 5x6, 1 channel, 2 classes"
    assert data.labels_as_given([1, 0]).tolist() == ["10", "2"]
    assert read(str(folder) + "/").name == "pets"


def test_colour_anywhere_makes_three_channels(write_images):
    data = read(write_images(pets(dog__3=colour(255, 51, 0))))
    assert data.images.shape == (5, 3, 6, 5)
    assert data.images[4, :, 0, 0] == pytest.approx([1, 0.2, 0])
    assert data.images[3, :, 0, 0] == pytest.approx([3 / 255] * 3)
    assert data.as_given(data.images[4:])[0, 0, 0].tolist() == [255, 51, 0]


def test_palette_and_transparency(write_images):
    palette = Image.fromarray(colour(255, 51, 0)).quantize(4)
    half = np.dstack([colour(255, 0, 0), np.full((6, 5), 51, dtype=np.uint8)])
    clear = np.dstack([grey(0), np.zeros((6, 5), dtype=np.uint8)])
    data = read(
        write_images(
            pets(
                dog__3=palette,
                dog__4=Image.fromarray(half),
                dog__5=Image.fromarray(clear),
                dog__6=Image.fromarray(grey(255) > 0),
            )
        )
    )
    by_name = dict(zip(data.origins, np.rint(data.images * 255), strict=True))
    assert by_name["dog/3.png"][:, 0, 0] == pytest.approx([255, 51, 0], abs=2)
    assert by_name["dog/4.png"][:, 0, 0].tolist() == [255, 204, 204]
    assert by_name["dog/5.png"][:, 0, 0].tolist() == [255, 255, 255]
    assert by_name["dog/6.png"][:, 0, 0].tolist() == [255, 255, 255]


def test_a_transparent_colour_is_laid_over_white(write_images):
    folder = write_images(pets(dog__3=colour(1, 2, 3)))
    Image.fromarray(colour(1, 2, 3)).save(folder / "dog" / "3.png", transparency=(1, 2, 3))
    assert read(folder).images[4, :, 0, 0].tolist() == [1, 1, 1]


def test_grey_with_transparency_stays_grey(write_images):
    clear = Image.fromarray(np.dstack([grey(0), np.full((6, 5), 51, dtype=np.uint8)]))
    assert clear.mode == "LA"
    data = read(write_images(pets(dog__3=clear)))
    assert data.images.shape[1] == 1
    assert data.images[4, 0, 0, 0] == pytest.approx(204 / 255)


def test_sixteen_bits_are_kept(write_images):
    deep = {f"{label}/{i}.png": np.full((6, 5), 1000 * i + 1, dtype=np.uint16) for label in "ab" for i in range(3)}
    folder = write_images(deep)
    data = read(folder)
    assert data.scale == ValueRange(0, 2001, "uint16")
    assert data.as_given(data.images)[:, 0, 0].tolist() == [1, 1001, 2001, 1, 1001, 2001]
    Image.fromarray(grey(255)).save(folder / "a" / "9.png")  # white of 8 bits beside white of 16
    Image.fromarray(np.full((6, 5), 65535, dtype=np.uint16)).save(folder / "a" / "8.png")
    mixed = read(folder)
    assert mixed.images[3:5, 0, 0, 0].tolist() == [1, 1]
    Image.fromarray(colour(255, 0, 0)).save(folder / "b" / "9.png")
    coloured = read(folder)
    assert coloured.scale == ValueRange(0, 255, "uint8")
    assert coloured.images[3, :, 0, 0].tolist() == [1, 1, 1]


def test_floats_are_kept_and_not_mixed(write_images):
    files = {f"{label}/{i}.tif": np.full((6, 5), i / 4, dtype=np.float32) for label in "ab" for i in range(3)}
    folder = write_images(files)
    data = read(folder)
    assert data.images[:3, 0, 0, 0].tolist() == [0, 0.25, 0.5]
    assert data.scale.dtype == "float32"
    Image.fromarray(grey(1)).save(folder / "a" / "9.png")
    with pytest.raises(DataError, match=r"a/0.tif holds floats and other images do not: convert all images"):
        read(folder)


def test_every_kind_of_file_is_read(write_images):
    picture = grey(0, 8, 8)
    picture[:] = 128
    endings = ["png", "jpg", "JPEG", "bmp", "gif", "webp", "tif", "tiff", "pgm", "ppm"]
    files = {f"{label}/{i}.{ending}": picture for label in "ab" for i, ending in enumerate(endings)}
    data = read(write_images(files))
    assert len(data) == 20
    assert np.abs(data.images - 128 / 255).max() < 0.02


def test_a_camera_that_was_turned(write_images):
    picture = Image.fromarray(grey(0, 6, 5))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    folder = write_images({f"{label}/{i}.png": grey(0, 5, 6) for label in "ab" for i in range(2)})
    picture.save(folder / "a" / "0.png", exif=exif)
    assert read(folder).images.shape == (4, 1, 5, 6)


def test_the_first_frame_of_an_animation(write_images):
    folder = write_images(pets())
    frames = [Image.fromarray(grey(value)) for value in (40, 80)]
    frames[0].save(folder / "dog" / "3.gif", save_all=True, append_images=frames[1:])
    assert read(folder).images[4, 0, 0, 0] == pytest.approx(40 / 255)


def test_what_is_no_image_is_left_aside_and_said(write_images):
    folder = write_images(pets(dog__nested__3=grey(9)) | {"loose.png": grey(9)})
    (folder / ".hidden").mkdir()
    (folder / "dog" / ".4.png").write_bytes(b"")
    (folder / "dog" / "notes.txt").write_text("x")
    data = read(folder)
    assert len(data) == 4
    assert data.note.endswith("2 classes; 2 other files left aside")


def damaged_png(path: Path, how: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    start = content.index(b"IDAT") + 4
    changed = {
        "truncated": content[: start + 10],
        "truncated at the end": content[:-20],
        "flipped": content[: start + 12] + bytes([content[start + 12] ^ 255]) + content[start + 13 :],
        "text": b"hello",
        "header only": content[:8],
    }[how]
    path.write_bytes(changed)


@pytest.mark.parametrize("how", ["truncated", "truncated at the end", "flipped", "text", "header only"])
def test_a_damaged_image_is_named(write_images, how):
    folder = write_images(pets())
    damaged_png(folder / "dog" / "1.png", how)
    with pytest.raises(DataError, match=r"dog/1\.png cannot be decoded \(.+\): replace or remove this file") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["jpg", "bmp", "gif", "webp", "tif", "pgm"])
def test_every_kind_cut_in_half_is_refused(write_images, ending):
    folder = write_images(pets())
    noise = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
    path = folder / "dog" / f"3.{ending}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"dog/3\.{ending} cannot be decoded"):
        read(folder)


def bomb(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (300, r"dog/1\.png is 300x300, larger than 256 pixels a side: resize them to between 4 and 256"),
        (3, r"dog/1\.png is 3x3, smaller than 4x4: resize"),
        (10_000, r"dog/1\.png claims to hold an image too large to decode safely: resize or remove this file"),
        (60_000, r"dog/1\.png claims to hold an image too large to decode safely: resize or remove this file"),
    ],
)
def test_sizes_are_known_before_decoding(write_images, side, words):
    folder = write_images(pets())
    (folder / "dog" / "1.png").write_bytes(bomb(side))
    with pytest.raises(DataError, match=words):
        read(folder)


def test_images_of_two_sizes_are_both_named(write_images):
    with pytest.raises(DataError, match=r"cat/1\.png is 5x6 and .*dog/3\.png is 6x5: resize all images to one size"):
        read(write_images(pets(dog__3=grey(0, 5, 6))))


def test_an_empty_image(write_images):
    folder = write_images(pets())
    (folder / "dog" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/2\.png is empty \(0 bytes\): replace or remove this file"):
        read(folder)


def test_folders_without_classes(write_images, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images: put the images into one folder per class"):
        read(tmp_path / "empty")
    with pytest.raises(DataError, match="flat holds images but no folder for each class: put the images"):
        read(write_images({"1.png": grey(0), "2.png": grey(0)}, "flat"))
    with pytest.raises(DataError, match="one has only one class, 'cat': add a folder for a second class"):
        read(write_images({"cat/1.png": grey(0), "cat/2.png": grey(0)}, "one"))
    with pytest.raises(
        DataError, match=r"class 'test' in .*deep has folders and no images of its own: give the folder"
    ):
        read(write_images({f"{part}/cat/1.png": grey(0) for part in ("train", "test")}, "deep"))


def test_classes_with_too_few_images(write_images):
    folder = write_images(pets())
    (folder / "dog" / "1.png").unlink()
    with pytest.raises(DataError, match=r"class 'dog' in .*pets has 1 image, and at least 2 are needed: add images"):
        read(folder)
    (folder / "dog" / "2.png").unlink()
    with pytest.raises(DataError, match=r"class 'dog' in .*pets has no images, and at least 2 are needed"):
        read(folder)


def test_files_that_may_not_be_read(write_images, monkeypatch):
    folder = write_images(pets())
    whole = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"no permission to read .*cat/2\.png: ask for it, or copy what you may read"):
        read(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed(write_images):
    folder = write_images(pets())
    (folder / "dog").chmod(0)
    try:
        with pytest.raises(DataError, match=r"no permission to read .*dog"):
            read(folder)
    finally:
        (folder / "dog").chmod(0o700)


def test_a_link_to_nowhere(write_images):
    folder = write_images(pets())
    (folder / "dog" / "3.png").symlink_to(folder / "gone.png")
    with pytest.raises(DataError, match=r"dog/3\.png went away while it was read: check the path"):
        read(folder)


def test_a_name_that_is_no_text(write_images):
    folder = write_images(pets())
    try:
        os.rename(folder / "dog" / "2.png", os.fsencode(folder / "dog") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(DataError, match=r"\\udcff.png' has a name that is not valid UTF-8: rename it"):
        read(folder)
