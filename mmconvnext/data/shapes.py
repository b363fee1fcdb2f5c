"""Draw coloured shapes over a muted, cluttered and noisy background, for the sample sets."""

import cv2
import numpy as np

_HUE_SIGMA = 8.0  # degrees
_NOISE = 12.0  # standard deviation of the pixel noise, grey levels
_CLUTTER = 10  # lines and dots in an image

# Corners of each polygon for radius 1; circle and ring have none.
_ARM = 0.25
_OUTLINES = {
    'square': np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
    'triangle': np.array([(np.cos(a), np.sin(a)) for a in np.radians((90, 210, 330))]) * 1.15,
    'cross': np.array(
        [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)]
        + [(_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)]
    ),
}


def draw_background(
    generator: np.random.Generator, size: int, clutter: int = _CLUTTER
) -> np.ndarray:
    """Return a muted gradient with lines and dots: (size, size, 3) float32 RGB, 0 to 255."""
    corners = generator.uniform(70, 170, (2, 2, 3)).astype(np.float32)
    image = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(clutter):
        colour = generator.uniform(30, 225, 3).tolist()
        start, end = generator.integers(0, size, (2, 2)).tolist()
        if generator.random() < 0.5:
            cv2.line(image, start, end, colour, 1)
        else:
            cv2.circle(image, start, int(generator.integers(1, 3)), colour, -1)
    return image


def paint_shape(
    generator: np.random.Generator, image: np.ndarray, name: str, *, radius: float, hue: float
) -> np.ndarray:
    """Paint one shape into ``image``, at a random position and angle, and return its mask.

    ``image`` is (size, size, 3) float32 RGB, 0 to 255. The shape is a circle, ring, square,
    triangle or cross; ``radius`` is half its width in pixels, ``hue`` its mean hue in degrees. The
    mask is (size, size) bool; the shape's centre is always in the image.
    """
    mask = _place(generator, name, len(image), radius)
    hue = (hue + generator.normal(0, _HUE_SIGMA)) % 360
    hsv = np.array([[[hue, generator.uniform(0.55, 0.95), generator.uniform(0.6, 1)]]], np.float32)
    image[mask] = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return mask


def with_noise(generator: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add noise: return (size, size, 3) uint8 RGB for float32 RGB, 0 to 255."""
    noisy = image + generator.normal(0, _NOISE, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _place(generator: np.random.Generator, name: str, size: int, radius: float) -> np.ndarray:
    centre = generator.uniform(radius * 0.6, size - radius * 0.6, 2)
    angle = generator.uniform(0, 2 * np.pi)
    mask = np.zeros((size, size), np.uint8)
    if name in ('circle', 'ring'):
        at = centre.astype(int).tolist()
        cv2.circle(mask, at, int(radius), 1, -1)
        if name == 'ring':
            cv2.circle(mask, at, int(radius * 0.55), 0, -1)
    else:
        cosine, sine = np.cos(angle), np.sin(angle)
        corners = _OUTLINES[name] @ [[cosine, sine], [-sine, cosine]] * radius + centre
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(bool)
