"""Corruptions: their effect on an image, and that a seed always gives the same images."""

import numpy as np
import pytest

from components.images import corruptions
from components.images.corruptions import CORRUPTIONS
from components.images.idx_format import ImagesAndLabels

DIGITS = slice(0, 40)


@pytest.mark.parametrize(
    ("direction", "place"),
    [("left", (5, 4)), ("right", (5, 8)), ("up", (3, 6)), ("down", (7, 6))],
)
def test_a_shift_moves_every_pixel_and_fills_with_black(
    direction: str, place: tuple[int, int]
) -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 5, 6] = 200
    moved = corruptions.shift(image, direction, 2)
    expected = np.zeros((28, 28), np.uint8)
    expected[place] = 200
    np.testing.assert_array_equal(moved[0], expected)


def test_pixels_shifted_out_are_lost() -> None:
    image = np.full((1, 28, 28), 9, np.uint8)
    moved = corruptions.shift(image, "right", 3)[0]
    assert (moved[:, :3] == 0).all()
    assert (moved[:, 3:] == 9).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_seed_gives_the_same_images_and_strength_takes_them_further(
    name: str, test_digits: ImagesAndLabels
) -> None:
    images = test_digits.images[DIGITS]
    before = images.copy()

    def corrupt(strength: int, seed: int = 3) -> np.ndarray:
        return CORRUPTIONS[name].apply(images, strength, np.random.default_rng(seed))

    last = CORRUPTIONS[name].strengths
    weak, strong = corrupt(1), corrupt(last)
    assert strong.dtype == np.uint8
    assert strong.shape == images.shape
    np.testing.assert_array_equal(strong, corrupt(last))
    np.testing.assert_array_equal(images, before, err_msg="the originals are not touched")
    if name != "scale":
        assert not np.array_equal(strong, corrupt(last, seed=4))

    def distance(changed: np.ndarray) -> float:
        return float(np.abs(changed.astype(int) - images).mean())

    assert 0 < distance(weak) < distance(strong)


def _square() -> np.ndarray:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 9:19, 9:19] = 255
    return image


def test_a_scaled_image_is_smaller_about_the_same_centre() -> None:
    half = CORRUPTIONS["scale"].apply(_square(), 5, np.random.default_rng(1))[0]
    assert half.sum() == pytest.approx(_square().sum() / 4, rel=0.02)
    rows, columns = np.indices(half.shape)
    assert (rows * half).sum() / half.sum() == pytest.approx(13.5)
    assert (columns * half).sum() / half.sum() == pytest.approx(13.5)


def test_rotation_uses_the_angle_of_its_strength_in_both_directions() -> None:
    """The end of a line that goes right from the centre."""
    line = np.zeros((64, 28, 28), np.uint8)
    line[:, 13:15, 14:25] = 255
    turned = CORRUPTIONS["rotate"].apply(line, 3, np.random.default_rng(1)).astype(float)
    rows, columns = np.indices(turned[0].shape) - 13.5
    total = turned.sum(axis=(1, 2))
    angles = np.arctan2(
        (turned * rows).sum(axis=(1, 2)) / total, (turned * columns).sum(axis=(1, 2)) / total
    )
    np.testing.assert_allclose(np.abs(angles), 0.6, atol=0.02)
    assert 0.2 < (angles > 0).mean() < 0.8


def test_shear_leaves_rows_through_the_centre_in_place() -> None:
    line = np.zeros((2, 28, 28), np.uint8)
    line[:, 13:15, 5:23] = 255
    sheared = CORRUPTIONS["shear"].apply(line, 2, np.random.default_rng(1))
    columns = (sheared.sum(axis=1) * np.arange(28)).sum(axis=1) / sheared.sum(axis=(1, 2))
    np.testing.assert_allclose(columns, 13.5, atol=0.1)


def test_noise_has_the_parameters_of_mnist_c() -> None:
    grey = np.full((200, 28, 28), 128, np.uint8)
    rng = np.random.default_rng(1)
    shot = CORRUPTIONS["shot_noise"].apply(grey, 1, rng) / 255
    assert shot.mean() == pytest.approx(128 / 255, abs=0.01)
    assert shot.var() == pytest.approx(128 / 255 / 60, rel=0.05), "Poisson, of 60 photons"
    impulse = CORRUPTIONS["impulse_noise"].apply(grey, 4, rng)
    assert (impulse == 0).mean() == pytest.approx(0.17 / 2, abs=0.005)
    assert (impulse == 255).mean() == pytest.approx(0.17 / 2, abs=0.005)
    assert set(np.unique(impulse)) == {0, 128, 255}


@pytest.mark.parametrize("name", ["glass_blur", "motion_blur"])
def test_blur_lowers_contrast_and_adds_no_light(name: str, test_digits: ImagesAndLabels) -> None:
    images = test_digits.images[DIGITS]
    blurred = CORRUPTIONS[name].apply(images, 1, np.random.default_rng(1))
    assert blurred.mean() <= images.mean() * 1.02
    assert blurred.std() < images.std()
    detail = [np.abs(np.diff(i.astype(int), axis=2)).mean() for i in (images, blurred)]
    assert detail[1] < 0.8 * detail[0]
