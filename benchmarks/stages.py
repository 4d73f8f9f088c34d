"""The time of each stage of a training step, as tables and pictures: each alone, on its inputs in the model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.flop_counter import FlopCounterMode

from cpnet.batch import GroundingBatch
from cpnet.models import CPNet
from cpnet.training.compilation import prepare_process
from cpnet.training.losses import GroundingLoss
from machine import copy_bandwidth, describe, matrix_peak, seconds, table
from setups import DTYPES, FULL, SMALL, Setup, on, precisions, training_step


@dataclass(frozen=True)
class Stage:
    """A stage's seconds and its FLOPs, forward and backward."""

    name: str
    forward: float
    backward: float
    flops: float


def parts(model: CPNet) -> dict[str, nn.Module]:
    """Return the modules by the name of their stage, as in the paper's figure."""
    assert model.pyramid is not None
    levels = {f"pyramid, level {p}: CAM": cam for p, cam in enumerate(model.pyramid.cams)}
    pooling = {f"pyramid, pooling to level {p + 1}": down for p, down in enumerate(model.pyramid.downsamplings)}
    return {
        "projection, video": model.video_projection,
        "projection, query": model.query_projection,
        "encoder": model.encoder,
        "co-attention and fusion": model.coattention,
        "second encoder": model.fusion_encoder,
        **levels,
        **pooling,
        "pyramid, top-down": model.pyramid.top_down,
        "regression": model.regression,
    }


def captured(model: CPNet, batch: GroundingBatch, precision: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return the inputs of every stage in a step: a list, for stages that run twice."""
    inputs: dict[str, list[tuple[Any, ...]]] = {}
    handles = []
    for name, module in parts(model).items():

        def keep(_: nn.Module, arguments: tuple[Any, ...], name: str = name) -> None:
            inputs.setdefault(name, []).append(arguments)

        handles.append(module.register_forward_pre_hook(keep))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        model(batch)
    for handle in handles:
        handle.remove()
    return inputs


def detached(value: Any) -> Any:
    """Return a copy at which gradients end."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    return [detached(each) for each in value] if isinstance(value, list | tuple) else value


def time_stage(name: str, module: nn.Module, calls: list[tuple[Any, ...]], precision: str, repeats: int) -> Stage:
    """Time a stage's forward pass alone and with its backward pass."""

    def forward() -> list[Tensor]:
        outputs = []
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for arguments in calls:
                answer = module(*detached(arguments))
                outputs.append(answer if isinstance(answer, Tensor) else answer[0])
        return outputs

    def both() -> None:
        outputs = forward()
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
        module.zero_grad()

    alone = seconds(forward, repeats=repeats, warm=2)
    together = seconds(both, repeats=repeats, warm=2)
    return Stage(name, alone, max(together - alone, 0.0), 0.0)


def flops_of(setup: Setup) -> dict[str, float]:
    """Return the FLOPs of each stage's forward pass over a batch, counted by torch."""
    model = setup.model().eval()
    counts = {}
    for name, calls in captured(model, setup.pairs(1), "fp32").items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for arguments in calls:
                parts(model)[name](*arguments)
        counts[name] = float(counter.get_total_flops() * setup.batch)
    return counts


def profile(setup: Setup, precision: str, *, repeats: int) -> tuple[list[Stage], float]:
    """Time every stage of the compiled model, and the whole step."""
    batch = setup.pairs()
    model = setup.model().train()
    on(torch.device("cpu"), model, compiled=True)
    step = training_step(model, batch, precision, fused=True)
    whole = seconds(step, repeats=repeats, warm=3)
    flops, inputs = flops_of(setup), captured(model, batch, precision)
    stages = []
    for name, module in parts(model).items():
        if name in inputs:
            timed = time_stage(name, module, inputs[name], precision, repeats)
            backward = 2.0 if "projection" not in name else 1.0  # no gradient of the inputs
            stages.append(Stage(name, timed.forward, timed.backward, (1 + backward) * flops[name]))
    stages += last_stages(model, batch, precision, repeats)
    return stages, whole


def last_stages(model: CPNet, batch: GroundingBatch, precision: str, repeats: int) -> list[Stage]:
    """Losses, clipping and optimiser."""
    loss, optimizer = GroundingLoss(), torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = model(batch)
    loss(output, batch)["loss"].backward()  # type: ignore[no-untyped-call]
    actions: dict[str, Callable[[], object]] = {
        "losses": lambda: loss(output, batch),
        "clipping": lambda: clip_grad_norm_(model.parameters(), 0.5),
        "optimiser": optimizer.step,
    }
    return [Stage(name, seconds(action, repeats=repeats), 0.0, 0.0) for name, action in actions.items()]


def draw(path: Path, title: str, stages: list[Stage], peak: float) -> None:
    """Draw each stage's time, and the time of its products at the machine's peak."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.4 * len(stages) + 1.2), layout="constrained")
    names = [stage.name for stage in stages]
    forward = [1e3 * stage.forward for stage in stages]
    axes.barh(names, forward, color="#4c78a8", label="forward")
    axes.barh(names, [1e3 * stage.backward for stage in stages], left=forward, color="#9ecae9", label="backward")
    limits = [1e3 * stage.flops / peak for stage in stages]
    axes.plot(limits, names, "|", color="black", markersize=14, markeredgewidth=2, label="its products at the peak")
    axes.invert_yaxis()
    axes.set_xlabel("ms a step")
    axes.set_title(title)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Print the tables and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", choices=["full", "small"])
    arguments = parser.parse_args()
    prepare_process()
    print(describe(), "", f"copying memory: {copy_bandwidth() / 1e9:.0f} GB/s", sep="\n")
    for preset, setup in (("small", SMALL), ("full", FULL)):
        for precision in precisions(torch.device("cpu")):
            if arguments.only not in (None, preset):
                continue
            peak = matrix_peak(DTYPES[precision], torch.device("cpu"))
            stages, whole = profile(setup, precision, repeats=arguments.repeats)
            rows = [
                [
                    stage.name,
                    f"{1e3 * stage.forward:.2f}",
                    f"{1e3 * stage.backward:.2f}",
                    f"{stage.flops / (stage.forward + stage.backward) / peak:.0%}",
                ]
                for stage in stages
            ]
            total = sum(stage.forward + stage.backward for stage in stages)
            title = f"{setup.name}, {precision}, compiled"
            print(f"\n{title}: {1e3 * whole:.1f} ms a step, its stages {1e3 * total:.1f} ms\n", flush=True)
            print(table(["stage", "forward, ms", "backward, ms", "of the peak"], rows), flush=True)
            draw(arguments.out / f"stages_{preset}_{precision}.png", title, stages, peak)


if __name__ == "__main__":
    main()
