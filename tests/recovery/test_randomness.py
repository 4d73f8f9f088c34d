"""Oracle: the numbers that each generator gives when nobody interferes."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from cpnet.recovery.randomness import random_state, restore_random_state


def draw() -> list[float]:
    return [
        *(random.random(), random.gauss(0, 1)),
        *(float(np.random.rand()), float(np.random.randn())),
        *(float(torch.rand(())), float(torch.randn(()))),
    ]


def test_every_generator_goes_on_where_its_state_was_taken(tmp_path: Path) -> None:
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    draw()  # from here on each keeps the second of a pair of normal numbers
    torch.save(random_state(), tmp_path / "state")
    expected = [draw() for _ in range(400)]  # more than a generator has words
    random.seed(4), np.random.seed(5), torch.manual_seed(6)
    assert draw() != expected[0]
    restore_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert [draw() for _ in range(400)] == expected


def test_taking_the_state_draws_nothing() -> None:
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = draw()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    random_state()
    assert draw() == expected


def test_states_of_gpus_that_are_not_here_are_left_out() -> None:
    torch.manual_seed(3)
    state = random_state()
    first = draw()[-2:]
    gpus = torch.cuda.device_count()
    restore_random_state(state | {"cuda": [*state["cuda"][:gpus], *[torch.zeros(16, dtype=torch.uint8)] * 2]})
    assert draw()[-2:] == first
