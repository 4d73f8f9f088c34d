"""Inference: latency of one pair, throughput by batch size, and many queries on one video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from sections import Clock, Options, Part, Row, in_turns
from setups import Setup, inference, on

BATCHES = {False: (1, 8, 32, 100), True: (1, 100, 1000)}  # on a GPU?
QUERIES = (1, 10, 100)


def parts(options: Options) -> Iterator[Part]:
    """Yield two parts for each model."""
    for setup in options.setups:
        flops = setup.forward_flops / 1e9
        weight = (3 if len(options.forms) > 1 else 1) * len(options.precisions) * (5 + 10 * flops)
        yield Part(f"{setup.name}: pairs/s by batch", weight, partial(throughput, options, setup))
        weight = len(options.precisions) * (5 + 13 * flops)
        yield Part(f"{setup.name}: queries on one video, pairs/s", weight, partial(one_video, options, setup))


def throughput(options: Options, setup: Setup, clock: Clock) -> Iterator[Row]:
    """Time batches of several sizes."""
    for precision in options.precisions:
        for form in options.forms:
            model = on(options.device, setup.model(), form)
            asked = {f"batch {count}": setup.pairs(count).to(options.device) for count in BATCHES[options.gpu]}
            actions: dict[str, Callable[[], object]] = {
                name: inference(model, batch, precision) for name, batch in asked.items()
            }
            if form != "not compiled":
                in_turns(actions, repeats=1, clock=Clock(say=clock.say))
            taken = in_turns(actions, repeats=options.repeats, clock=clock)
            rates = {name: len(asked[name]) / seconds for name, seconds in taken.items()}
            yield {"precision": precision, "form": form, "ms, one pair": 1e3 * taken["batch 1"], **rates}


def one_video(options: Options, setup: Setup, clock: Clock) -> Iterator[Row]:
    """Time 1, 10 and 100 queries on one video, and 100 pairs with a copy of the video each, in batches of 32."""
    for precision in options.precisions:
        model = on(options.device, setup.model())
        actions: dict[str, Callable[[], object]] = {
            f"{count} queries": inference(model, setup.pairs(count, videos=1).to(options.device), precision)
            for count in QUERIES
        }
        copies = [setup.pairs(count, videos=1).per_pair().to(options.device) for count in (32, 32, 32, 4)]
        answers = [inference(model, batch, precision) for batch in copies]
        actions["100 with copies"] = lambda answers=answers: [answer() for answer in answers]  # type: ignore[misc]
        taken = in_turns(actions, repeats=options.repeats, clock=clock)
        rates: Row = {name: int(name.split()[0]) / seconds for name, seconds in taken.items()}
        speedup = taken["100 with copies"] / taken["100 queries"]
        yield {"precision": precision, **rates, "x copies": speedup}
