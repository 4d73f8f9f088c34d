"""Draw scenes of moving objects with numpy, and encode them as H.264 in mp4 with PyAV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpnet.data.corpora.writers import FPS
from cpnet.errors import ConfigError
from cpnet.files import replacing

Image = NDArray[np.float32]  # (height, width, channels), 0 to 255

WIDTH, HEIGHT = 160, 120
BORDER = 6  # pixels around the picture into which the camera shakes
RADIUS, FLOOR, AIR = 24, 82, 30  # of an object; heights of the centres of residents and of visitors; in pixels
SHAKE, NOISE = 0.4, 4.0  # standard deviations of the camera's step in a frame, in pixels, and of the sensor's noise
HOPS_PER_SEC, HOP = 1.4, 34  # the height of a hop in pixels
COLOURS = {"red": (215, 35, 30), "green": (30, 165, 50), "blue": (35, 70, 220), "yellow": (240, 205, 25)}


@dataclass(frozen=True)
class Thing:
    """An object: its colour, a key of ``COLOURS``, and its shape, ``ball``, ``box``, ``flower`` or ``wheel``."""

    colour: str
    shape: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a thing does during a span.

    Residents, always in the picture, ``grow``, ``glow``, ``jump`` or ``turn`` into another colour. Visitors
    are there during the span alone: they ``cross`` the picture, ``appear``, or ``collide`` with another visitor.
    """

    action: str
    thing: Thing
    span: tuple[int, int]  # frames
    other: Thing | None = None  # the second thing of a collision
    colour: str | None = None  # what it turns into
    mirrored: bool = False  # from right to left, or on the right


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a video shows."""

    frames: int
    residents: tuple[Thing, ...]  # at most two: left, right
    events: tuple[Event, ...]
    seed: int  # of background, noise, shake and distractors


def frames(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of a scene one by one. Shape: (height, width, 3) each."""
    rng = np.random.default_rng(scene.seed)
    background, noise = _background(rng), (NOISE * rng.standard_normal((HEIGHT + 64, WIDTH + 64, 3))).astype(np.float32)
    bubbles = rng.uniform((0, 0, -12, -6), (WIDTH, HEIGHT, 12, 6), (2, 4))  # distractors: x, y and their speeds
    shake = np.zeros(2)
    for frame in range(scene.frames):
        canvas = background.copy()
        for x, y, *speed in bubbles:
            place = (x + speed[0] * frame / FPS) % WIDTH, (y + speed[1] * frame / FPS) % HEIGHT
            _paste(canvas, _disc(5, 5, 170, 0.6), place)
        for sprite, place in _sprites(scene, frame):
            _paste(canvas, sprite, place)
        shake = 0.9 * shake + SHAKE * rng.standard_normal(2)
        top, left = (BORDER + np.clip(np.rint(shake), -BORDER, BORDER)).astype(int)
        y, x = rng.integers(64, size=2)
        picture = canvas[top : top + HEIGHT, left : left + WIDTH] + noise[y : y + HEIGHT, x : x + WIDTH]
        yield np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def encode(scene: Scene, path: Path) -> None:
    """Write a scene as an mp4 file, atomically. One version of the encoder writes the same bytes each time.

    Raises:
        ConfigError: PyAV is not installed
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError("dataset=rendered needs PyAV; run pip install 'cpnet-grounding[video]'") from error
    with replacing(path) as file, av.open(file, "w", "mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "24", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in frames(scene):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _sprites(scene: Scene, frame: int) -> Iterator[tuple[Image, tuple[float, float]]]:
    """Yield the sprites of a frame and their centres, the rearmost first."""
    acting = [event for event in scene.events if event.span[0] <= frame < event.span[1]]
    for thing, x in zip(scene.residents, (0.27 * WIDTH, 0.73 * WIDTH), strict=False):
        event = next((event for event in acting if event.thing == thing), None)
        radius, rise = RADIUS, 0.0
        action, done, seconds = _progress(event, frame) if event else ("", 0.0, 0.0)
        if action == "grow":
            radius = round(RADIUS * (1 + 0.6 * min(1.0, 5 * done, 5 * (1 - done))))
        elif action == "jump":
            rise = HOP * abs(math.sin(math.pi * max(1, round(seconds * HOPS_PER_SEC)) * done))
        elif action == "glow":
            yield _disc(2 * RADIUS, 2 * RADIUS, 255, 1.0), (x, FLOOR)
        yield _disc(6, radius, 0, 0.5), (x, FLOOR + RADIUS)  # its shadow
        colour = event.colour if event and event.colour else thing.colour
        yield _sprite(thing.shape, colour, radius), (x, FLOOR + RADIUS - radius - rise)
    for event in acting:
        if event.thing not in scene.residents:
            action, done, _ = _progress(event, frame)
            side, apart = -1 if event.mirrored else 1, RADIUS + WIDTH / 2 * abs(1 - 2 * done)
            x = {"cross": (2 * done - 1) * (WIDTH / 2 + RADIUS), "collide": apart}.get(action, 0.2 * WIDTH)
            yield _sprite(event.thing.shape, event.thing.colour, RADIUS), (WIDTH / 2 + side * x, AIR)
            if event.other:
                yield _sprite(event.other.shape, event.other.colour, RADIUS), (WIDTH / 2 - side * x, AIR)


def _progress(event: Event, frame: int) -> tuple[str, float, float]:
    """Return the action of an event, its share that is over, and its length in seconds."""
    start, end = event.span
    return event.action, (frame + 0.5 - start) / (end - start), (end - start) / FPS


def _paste(canvas: Image, sprite: Image, centre: tuple[float, float]) -> None:
    """Paste a sprite (h, w, 4) whose last channel is its opacity from 0 to 1; what lies outside is cut off."""
    height, width = sprite.shape[:2]
    left, top = round(centre[0] + BORDER - width / 2), round(centre[1] + BORDER - height / 2)
    x0, y0 = max(left, 0), max(top, 0)
    part = sprite[y0 - top : canvas.shape[0] - top, x0 - left : canvas.shape[1] - left]
    if part.size:
        target = canvas[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
        target += part[..., 3:] * (part[..., :3] - target)


@lru_cache(maxsize=512)
def _sprite(shape: str, colour: str, radius: int) -> Image:
    reach = math.ceil(1.45 * radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32) / radius
    length, direction = np.hypot(x, y), np.arctan2(y, x)
    if shape == "ball":  # six sectors, every second one white
        inside, pattern = 1 - length, np.sin(3 * direction) > 0
    elif shape == "box":  # a frame and a diagonal
        edge = np.maximum(abs(x), abs(y))
        inside, pattern = 0.95 - edge, (abs(x - y) < 0.22) | (edge > 0.74)
    elif shape == "flower":  # five petals around a dark heart
        inside, pattern = 1.25 * (0.62 + 0.38 * np.cos(5 * direction)) - length, length < 0.3
    else:  # a wheel: a rim, a dark hub and four spokes
        pattern = length < 0.25
        solid = (abs(length - 0.82) < 0.2) | pattern | ((np.minimum(abs(x), abs(y)) < 0.11) & (length < 1))
        inside = np.where(solid, np.minimum(0.2, 1.02 - length), -1.0)
    base = np.array(COLOURS[colour], np.float32)
    second = np.full(3, 250 if shape == "ball" else 45, np.float32)
    light = np.clip(1.05 - 0.25 * (x + y), 0.6, 1.25)[..., None]  # from above left
    rgb = np.clip(np.where(pattern[..., None], second, base) * light, 0, 255)
    return np.concatenate([rgb, np.clip(0.5 + inside * radius, 0, 1)[..., None]], axis=-1, dtype=np.float32)


@lru_cache
def _disc(height: int, width: int, grey: int, opacity: float) -> Image:
    """Draw a soft ellipse of a height and width from its centre."""
    y, x = np.mgrid[-height : height + 1, -width : width + 1] / np.array([height, width]).reshape(2, 1, 1)
    alpha = opacity * np.clip(1 - x**2 - y**2, 0, 1)[..., None]
    return np.concatenate([np.full((*alpha.shape[:2], 3), grey), alpha], axis=-1, dtype=np.float32)


def _background(rng: np.random.Generator) -> Image:
    """Draw a wall with a soft pattern above a floor of tiles or boards."""
    height, width = HEIGHT + 2 * BORDER, WIDTH + 2 * BORDER
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wall, floor = (rng.uniform(100, 160) + rng.uniform(-15, 15, 3) for _ in range(2))
    pitch, kind = rng.uniform(10, 24), rng.integers(3)
    soft = np.kron(rng.uniform(-8, 8, (height // 12 + 1, width // 12 + 1)), np.ones((12, 12)))[:height, :width]
    lines = (np.where(kind == 1, x, x + y * (kind - 1)) % pitch < 1.5) * -12.0
    tiles = ((x // (1.5 * pitch) + y // pitch) % 2) * 10.0
    picture = np.where((y > 0.78 * height)[..., None], floor + tiles[..., None], wall + (soft + lines)[..., None])
    return np.asarray(picture, np.float32)
