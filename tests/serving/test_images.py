"""Pictures become the network's input: white on black, 28x28, centred."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from components.images.idx_format import ImagesAndLabels
from serving import images
from serving.errors import InvalidRequestError
from serving.polarity import Polarity


def _save(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_a_digit_of_the_right_size_is_unchanged(
    tmp_path: Path, test_digits: ImagesAndLabels
) -> None:
    digit = test_digits.images[0]
    np.testing.assert_array_equal(images.read(_save(digit, tmp_path / "d.png")), [digit])


def test_black_on_white_is_inverted(tmp_path: Path, test_digits: ImagesAndLabels) -> None:
    digit = test_digits.images[0]
    np.testing.assert_array_equal(images.read(_save(255 - digit, tmp_path / "d.png")), [digit])


def test_a_large_picture_is_reduced_to_its_digit(
    tmp_path: Path, test_digits: ImagesAndLabels
) -> None:
    """An enlarged, inverted digit in the corner of a page is nearly restored."""
    for digit in test_digits.images[:10]:
        page = np.full((400, 300), 255, np.uint8)
        page[20:244, 60:284] = 255 - np.kron(digit, np.ones((8, 8), np.uint8))
        (found,) = images.read(_save(page, tmp_path / "page.png"))
        assert (found.shape, found.dtype) == ((28, 28), np.uint8)
        overlap = np.corrcoef(found.ravel(), digit.ravel())[0, 1]
        assert overlap > 0.85


@pytest.mark.parametrize("name", ["digit.png", "digit.tif", "digit.pgm"])
def test_16_bits_are_scaled_to_8(tmp_path: Path, test_digits: ImagesAndLabels, name: str) -> None:
    digit = test_digits.images[0]
    pixels = np.minimum(digit.astype(int) * 257 + 100, 65535).astype(np.uint16)
    path = _save(pixels, tmp_path / name)
    np.testing.assert_array_equal(images.read(path), [digit])


def test_pixels_of_32_bits_are_rejected(tmp_path: Path) -> None:
    path = _save(np.zeros((28, 28), np.float32), tmp_path / "digit.tif")
    with pytest.raises(InvalidRequestError, match=r"pixels have 32 bits; expected 8 or 16 bits\.$"):
        images.read(path)


def test_a_colour_jpeg_is_read(tmp_path: Path) -> None:
    page = np.zeros((90, 60, 3), np.uint8)
    page[20:70, 25:35] = 255
    (found,) = images.read(_save(page, tmp_path / "one.jpg"))
    rows, columns = np.nonzero(found > 128)
    assert np.ptp(rows) + 1 == 20
    assert (rows.mean(), columns.mean()) == pytest.approx((13.5, 13.5), abs=1)


def test_a_blank_picture_is_a_blank_image(tmp_path: Path) -> None:
    found = images.read(_save(np.full((50, 40), 255, np.uint8), tmp_path / "blank.png"))
    assert found.max() == 0


def test_an_array_holds_one_image_or_many(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones((28, 28), np.float32))
    assert images.read(path).shape == (1, 28, 28)
    np.save(path, np.ones((3, 28, 28), np.uint8))
    assert images.read(path).shape == (3, 28, 28)


@pytest.mark.parametrize("shape", [(3, 784), (28,), (1, 28, 28, 1), (27, 28)])
def test_an_array_of_another_shape_is_rejected(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(InvalidRequestError) as raised:
        images.read(tmp_path / "a.npy")
    assert str(raised.value) == (
        f"{tmp_path / 'a.npy'}: the array has the shape {list(shape)}; expected [28, 28] or "
        "[count, 28, 28]."
    )


def test_other_files_are_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="the file .*gone.png does not exist"):
        images.read(tmp_path / "gone.png")
    with pytest.raises(InvalidRequestError, match="is a folder; expected a picture or a .npy"):
        images.read(tmp_path)
    for name in ("text.png", "text.npy"):
        (tmp_path / name).write_text("no picture")
        with pytest.raises(InvalidRequestError, match=f"{name} is neither a picture nor"):
            images.read(tmp_path / name)


def test_the_polarity_can_be_given(tmp_path: Path, test_digits: ImagesAndLabels) -> None:
    """A white digit that fills its picture to the edges looks like paper, so an option exists."""
    digit = test_digits.images[0].copy()
    digit[0] = digit[-1] = digit[:, 0] = digit[:, -1] = 255
    path = _save(digit, tmp_path / "d.png")
    np.testing.assert_array_equal(images.read(path), [255 - digit])
    np.testing.assert_array_equal(images.read(path, Polarity.WHITE_ON_BLACK), [digit])
    np.testing.assert_array_equal(images.read(path, Polarity.BLACK_ON_WHITE), [255 - digit])
    np.save(tmp_path / "a.npy", digit)
    turned = images.read(tmp_path / "a.npy", Polarity.BLACK_ON_WHITE)
    np.testing.assert_array_equal(turned, [255 - digit])


def test_black_ink_on_a_transparent_background_is_read(
    tmp_path: Path, test_digits: ImagesAndLabels
) -> None:
    """Drawing programs save a transparent background, whose colours are arbitrary."""
    digit = test_digits.images[0]
    rgba = np.zeros((28, 28, 4), np.uint8)
    rgba[..., 3] = digit
    np.testing.assert_allclose(
        images.read(_save(rgba, tmp_path / "d.png"))[0].astype(int), digit.astype(int), atol=1
    )


def test_exif_orientation_is_applied(tmp_path: Path, test_digits: ImagesAndLabels) -> None:
    digit = test_digits.images[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    path = tmp_path / "d.png"
    Image.fromarray(np.rot90(digit)).save(path, exif=exif)
    np.testing.assert_array_equal(images.read(path), [digit])


def test_a_picture_bomb_is_rejected_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (8000, 7000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidRequestError, match="it has 56000000 pixels; the maximum is 5000"):
        images.read(path)


def test_an_array_with_a_huge_shape_in_its_header_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InvalidRequestError, match="huge.npy is neither a picture nor a .npy"):
        images.read(path)


def _page(digit: np.ndarray, scale: int = 6) -> np.ndarray:
    return 255 - np.kron(digit, np.ones((scale, scale), np.uint8))


def test_digits_have_no_problem(test_digits: ImagesAndLabels) -> None:
    problems = [images.find_problem(image) for image in test_digits.images]
    problems += [images.find_problem(images.normalize(_page(d))) for d in test_digits.images]
    assert problems.count(None) == len(problems)


def test_floats_are_looked_at_as_pixels_are(test_digits: ImagesAndLabels) -> None:
    assert images.find_problem(test_digits.images[0] / 255) is None
    assert images.find_problem(np.zeros((28, 28))) is images.Problem.NO_DIGIT


def test_a_blank_or_noisy_sheet_contains_no_digit() -> None:
    noise = np.random.default_rng(0).normal(245, 4, (300, 300)).clip(0, 255).astype(np.uint8)
    for sheet in (np.full((300, 300), 250, np.uint8), noise):
        assert images.find_problem(images.normalize(sheet)) is images.Problem.NO_DIGIT


def test_a_photo_contains_no_digit() -> None:
    """Smooth random areas of every brightness stand for a photo; nearly all are recognized."""
    rng = np.random.default_rng(0)
    found = []
    for width in range(5, 30):
        blurred = ndimage.gaussian_filter(rng.normal(size=(200, 200)), width)
        photo = (255 * (blurred - blurred.min()) / np.ptp(blurred)).astype(np.uint8)
        found.append(images.find_problem(images.normalize(photo)))
    assert found.count(images.Problem.NO_DIGIT) >= 0.9 * len(found)


def test_two_digits_side_by_side_are_found(test_digits: ImagesAndLabels) -> None:
    for left, right in zip(test_digits.images[:50:2], test_digits.images[1:50:2], strict=True):
        pair = images.normalize(np.hstack([_page(left), _page(right)]))
        assert images.find_problem(pair) is images.Problem.SEVERAL_DIGITS


def test_a_written_image_is_read_unchanged(tmp_path: Path, test_digits: ImagesAndLabels) -> None:
    digit = test_digits.images[0]
    for place, image in enumerate((digit, (digit / 255).astype(np.float32))):
        images.write(image, tmp_path / f"{place}.png")
        np.testing.assert_array_equal(images.read(tmp_path / f"{place}.png"), [digit])


def test_the_paper_of_a_photo_becomes_black(test_digits: ImagesAndLabels) -> None:
    """A dark grey stroke on light grey paper gives the image that black on white gives."""
    for digit in test_digits.images[:10]:
        ink = np.kron(digit, np.ones((6, 6), np.uint8)).astype(float) / 255
        sheet = np.pad(200 - 110 * ink, 40, constant_values=200)
        image = images.normalize(sheet.astype(np.uint8))
        assert images.find_problem(image) is None
        assert image[0, 0] == 0 and image.max() > 200
        white = images.normalize(np.pad(_page(digit), 40, constant_values=255))
        np.testing.assert_allclose(image, white.astype(float), atol=8)
