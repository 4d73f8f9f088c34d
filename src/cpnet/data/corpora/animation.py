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

Image = NDArray[np.float32]  # (height, width, channels), 0 to 255

WIDTH, HEIGHT = 160, 120
RADIUS = 19  # of an object, in pixels
FLOOR, AIR = 86, 34  # heights of the centres of residents and of visitors
BORDER = 6  # pixels around the picture into which the camera shakes
SHAKE = 0.6  # standard deviation of the camera's step in a frame, in pixels
NOISE = 4.0  # standard deviation of the sensor's noise
TURNS_PER_SEC, HOPS_PER_SEC = 1.7, 1.4
HOP = 34  # height of a jump, in pixels
COLOURS = {
    "red": (215, 35, 30),
    "green": (30, 165, 50),
    "blue": (35, 70, 220),
    "yellow": (240, 205, 25),
    "white": (245, 245, 245),
}


@dataclass(frozen=True)
class Thing:
    """An object: its colour, a key of ``COLOURS``, and its shape, ``ball``, ``box``, ``flower`` or ``wheel``."""

    colour: str
    shape: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a thing does during a span.

    Residents are always in the picture: they ``grow``, ``spin``, ``jump`` or ``turn`` into another colour. Visitors are
    there during the span alone: they ``cross`` the picture, ``appear``, or ``collide`` with another visitor.
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
    """Draw the frames of a scene one by one.

    Shape: (height, width, 3) each
    """
    rng = np.random.default_rng(scene.seed)
    background, noise = _background(rng), (NOISE * rng.standard_normal((HEIGHT + 64, WIDTH + 64, 3))).astype(np.float32)
    bubbles = rng.uniform((0, 10, -12, -6, 4), (WIDTH, 110, 12, 6, 7), (3, 5))  # x, y, speed of x and y, radius
    shake = np.zeros(2)
    for frame in range(scene.frames):
        canvas = background.copy()
        for x, y, dx, dy, radius in bubbles:
            seconds = frame / FPS
            place = (x + dx * seconds) % WIDTH, 15 + (y + dy * seconds) % (HEIGHT - 30)
            _paste(canvas, _bubble(round(radius)), place)
        _draw_things(canvas, scene, frame)
        shake = 0.9 * shake + SHAKE * rng.standard_normal(2)
        top, left = (BORDER + np.clip(np.rint(shake), -BORDER, BORDER)).astype(int)
        y, x = rng.integers(64, size=2)
        picture = canvas[top : top + HEIGHT, left : left + WIDTH] + noise[y : y + HEIGHT, x : x + WIDTH]
        yield np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def encode(scene: Scene, path: Path) -> None:
    """Write a scene as an mp4 file. One version of the encoder writes the same bytes each time.

    Raises:
        ConfigError: PyAV is not installed
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError("dataset=rendered needs PyAV; run pip install 'cpnet-grounding[video]'") from error
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "24", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in frames(scene):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _draw_things(canvas: Image, scene: Scene, frame: int) -> None:
    acting: dict[Thing, list[Event]] = {}
    for event in scene.events:
        if event.span[0] <= frame < event.span[1]:
            acting.setdefault(event.thing, []).append(event)
    for thing, x in zip(scene.residents, (0.27 * WIDTH, 0.73 * WIDTH), strict=False):
        _draw_resident(canvas, thing, x, next(iter(acting.pop(thing, [])), None), frame)
    for events in acting.values():
        for event in events:
            _draw_visitor(canvas, event, frame)


def _draw_resident(canvas: Image, thing: Thing, x: float, event: Event | None, frame: int) -> None:
    action = event.action if event else ""
    start, end = event.span if event else (0, 1)
    done = (frame + 0.5 - start) / (end - start)
    colour = event.colour if event and event.colour else thing.colour
    radius = round(RADIUS * (1 + 0.9 * min(1.0, 5 * done, 5 * (1 - done)))) if action == "grow" else RADIUS
    hops = max(1, round((end - start) / FPS * HOPS_PER_SEC))
    rise, angle, turned, moved = 0.0, 0.0, 0, 0
    if action == "jump":
        phase = math.pi * hops * done
        rise, moved = HOP * abs(math.sin(phase)), round(HOP * math.pi * HOPS_PER_SEC / FPS * abs(math.cos(phase)))
    elif action == "spin":
        angle, turned = 360 * TURNS_PER_SEC * done * (end - start) / FPS, round(360 * TURNS_PER_SEC / FPS)
    _paste(canvas, _shadow(radius), (x, FLOOR + RADIUS))
    sprite = _blurred(thing.shape, colour, radius, round(angle / 6) * 6 % 360, turned, moved)
    _paste(canvas, sprite, (x, FLOOR + RADIUS - radius - rise))


def _draw_visitor(canvas: Image, event: Event, frame: int) -> None:
    start, end = event.span
    done = (frame + 0.5 - start) / (end - start)
    side = -1 if event.mirrored else 1
    if event.action == "collide":
        apart = RADIUS + (WIDTH / 2) * abs(1 - 2 * done)
        places = {event.thing: -side * apart, event.other or event.thing: side * apart}
    elif event.action == "cross":
        places = {event.thing: side * (2 * done - 1) * (WIDTH / 2 + RADIUS)}
    else:
        places = {event.thing: side * 0.2 * WIDTH}
    for thing, x in places.items():
        _paste(canvas, _sprite(thing.shape, thing.colour, RADIUS, 0), (WIDTH / 2 + x, AIR))


def _paste(canvas: Image, sprite: Image, centre: tuple[float, float]) -> None:
    """Paste a sprite (h, w, 4) whose last channel is its opacity from 0 to 1; what lies outside is cut off."""
    height, width = sprite.shape[:2]
    left, top = round(centre[0] + BORDER - width / 2), round(centre[1] + BORDER - height / 2)
    x0, y0 = max(left, 0), max(top, 0)
    part = sprite[y0 - top : canvas.shape[0] - top, x0 - left : canvas.shape[1] - left]
    if part.size and left + width > 0 and top + height > 0:
        target = canvas[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
        target += part[..., 3:] * (part[..., :3] - target)


@lru_cache(maxsize=512)
def _blurred(shape: str, colour: str, radius: int, angle: int, turned: int, moved: int) -> Image:
    """Draw a thing that turns by some degrees and moves down by some pixels while the shutter is open."""
    parts = []
    for shutter in np.linspace(-0.5, 0.5, 5 if turned or moved else 1).tolist():
        sprite = np.pad(_sprite(shape, colour, radius, round(angle + shutter * turned)), ((6, 6), (0, 0), (0, 0)))
        parts.append(np.roll(sprite, round(shutter * moved), axis=0))
    layers = np.stack(parts)
    alpha = layers[..., 3:]
    rgb = (layers[..., :3] * alpha).sum(axis=0) / np.maximum(alpha.sum(axis=0), 1e-6)
    return np.concatenate([rgb, alpha.mean(axis=0)], axis=-1, dtype=np.float32)


@lru_cache(maxsize=512)
def _sprite(shape: str, colour: str, radius: int, angle: int) -> Image:
    """Draw a thing with its texture, turned by an angle in degrees. Shape: (h, w, 4)"""
    reach = math.ceil(1.45 * radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32) / radius
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = cosine * x + sine * y, cosine * y - sine * x
    length, direction = np.hypot(u, v), np.arctan2(v, u)
    if shape == "ball":  # a beach ball: six sectors, every second one white or dark
        inside, pattern = 1 - length, np.sin(3 * direction) > 0
    elif shape == "box":  # a crate: boards and a diagonal
        inside = 0.95 - np.maximum(abs(u), abs(v))
        pattern = (abs(u - v) < 0.22) | (np.maximum(abs(u), abs(v)) > 0.74)
    elif shape == "flower":  # five petals around a dark heart
        inside, pattern = 1.25 * (0.62 + 0.38 * np.cos(5 * direction)) - length, length < 0.3
    else:  # a wheel: a rim, a hub and four spokes
        rim, hub, spokes = abs(length - 0.82) < 0.2, length < 0.25, np.minimum(abs(u), abs(v)) < 0.11
        inside = np.where(rim | hub | (spokes & (length < 1)), np.minimum(0.2, 1.02 - length), -1.0)
        pattern = hub
    base = np.array(COLOURS[colour], np.float32)
    second = base * 0.35 if colour == "white" else np.full(3, 250 if shape == "ball" else 45, np.float32)
    light = np.clip(1.05 - 0.25 * (x + y), 0.6, 1.25)[..., None]  # from above left
    rgb = np.where(pattern[..., None], second, base) * light
    alpha = np.clip(0.5 + inside * radius, 0, 1)[..., None]
    return np.concatenate([np.clip(rgb, 0, 255), alpha], axis=-1, dtype=np.float32)


@lru_cache
def _shadow(radius: int) -> Image:
    y, x = np.mgrid[-6:7, -radius : radius + 1] / np.array([6, radius]).reshape(2, 1, 1)
    alpha = 0.5 * np.clip(1 - x**2 - y**2, 0, 1)
    return np.concatenate([np.zeros((*alpha.shape, 3)), alpha[..., None]], axis=-1, dtype=np.float32)


@lru_cache
def _bubble(radius: int) -> Image:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
    alpha = 0.6 * np.clip((1 - np.hypot(x, y)) * radius, 0, 1)
    return np.concatenate([np.full((*alpha.shape, 3), 170), alpha[..., None]], axis=-1, dtype=np.float32)


def _background(rng: np.random.Generator) -> Image:
    """Draw a wall with a soft pattern above a floor of tiles or boards."""
    height, width = HEIGHT + 2 * BORDER, WIDTH + 2 * BORDER
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wall, floor = (rng.uniform(90, 170) + rng.uniform(-25, 25, 3) for _ in range(2))
    pitch, kind = rng.uniform(10, 24), rng.integers(3)
    soft = np.kron(rng.uniform(-14, 14, (height // 12 + 1, width // 12 + 1)), np.ones((12, 12)))[:height, :width]
    lines = (np.where(kind == 1, x, x + y * (kind - 1)) % pitch < 1.5) * -22.0
    tiles = ((x // (1.5 * pitch) + y // pitch) % 2) * 18.0
    picture = np.where((y > 0.78 * height)[..., None], floor + tiles[..., None], wall + (soft + lines)[..., None])
    return picture.astype(np.float32)
