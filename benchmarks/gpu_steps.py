"""Parts of ``gpu.py`` that time steps of the models."""

from __future__ import annotations

import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from cpnet.batch import GroundingBatch
from cpnet.data.sampling import Pick
from cpnet.models import CPNet
from cpnet.options import CPNetOptions
from cpnet.training.losses import GroundingLoss
from gpu import Run
from machine import in_turns
from made_up import datamodule, write_pack
from setups import DTYPES, FULL, SMALL, Setup, inference, on, training_step

Action = Callable[[], object]


def setups(run: Run) -> dict[str, Setup]:
    """Return the models to time."""
    tiny = replace(SMALL, width=16, clips=8, video_dim=8, batch=2)
    return {"tiny": tiny} if run.quick else {"full": FULL, "small": SMALL}


def milliseconds(run: Run, **actions: Action) -> dict[str, float]:
    """Return the median time of each action, of several in a row, in which the host may run ahead of the GPU."""
    times = 1 if run.quick else 8

    def several(action: Action) -> Action:
        return lambda: [action() for _ in range(times)].clear()

    taken = in_turns({name: several(each) for name, each in actions.items()}, repeats=1 if run.quick else 5)
    return {name: 1e3 * each / times for name, each in taken.items()}


def peak(run: Run, precision: str) -> float:
    """Return the FLOPs a second of a large matrix product; the precision holds for what follows, too."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    size = 64 if run.quick else 8192
    left, right = torch.randn(2, size, size, device=run.device, dtype=DTYPES["bf16" if precision == "bf16" else "fp32"])
    return 2e3 * size**3 / milliseconds(run, product=lambda: left @ right)["product"]


def machine(run: Run) -> None:
    """The GPU, its versions and its matrix products."""
    if run.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        run.row(card.name, card.total_memory / 1e9, "GB", f"{card.multi_processor_count} multiprocessors")
    run.row("torch", torch.__version__, "", f"CUDA {torch.version.cuda}, Python {platform.python_version()}")
    for precision in ("bf16", "tf32", "fp32"):
        run.row(f"matrix products, {precision}", peak(run, precision) / 1e12, "TFLOP/s")


def steps(run: Run) -> None:
    """Training steps and inference of both models, over the reference and over the peak."""
    for (name, setup), precision in ((each, p) for each in setups(run).items() for p in ("bf16", "tf32", "fp32")):
        top, batch, autocast = peak(run, precision), setup.pairs().to(run.device), precision.replace("tf32", "fp32")
        models = {"reference": setup.reference().to(run.device), "cpnet": setup.model().to(run.device)}
        for mode, flops in (("training", setup.training_flops()), ("inference", setup.forward_flops())):
            taken: dict[str, float] = {}
            for form, model in models.items():
                memory(run)
                train = training_step(model, batch, autocast, fused=form == "cpnet") if mode == "training" else None
                taken |= milliseconds(run, **{form: train or inference(model, batch, autocast)})
                achieved, ratio = 1e3 * flops * setup.batch / taken[form], taken["reference"] / taken[form]
                note = f"{taken[form]:.2f} ms, {ratio:.2f} x the reference, {achieved / top:.1%} of the peak"
                pairs = 1e3 * setup.batch / taken[form]
                run.row(f"{name}, {mode}, {precision}, {form}", pairs, "pairs/s", f"{note}, {memory(run):.2f} GB")


def memory(run: Run) -> float:
    """Return the peak of allocated GB since the last call."""
    highest = torch.cuda.max_memory_allocated() / 1e9 if run.device == "cuda" else 0.0
    if run.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return highest


def compiled(run: Run) -> None:
    """Training steps in bf16: not compiled, as with ``trainer.compile=true``, and with CUDA graphs."""
    for (name, setup), form in ((e, f) for e in setups(run).items() for f in ("no", "yes", "CUDA graphs")):
        torch._dynamo.reset()
        model = on(torch.device(run.device), setup.model(), compiled=form == "yes" and not run.quick)
        if form == "CUDA graphs":
            for part in list(model.compiled_parts())[-1 if run.quick else 0 :]:  # type: ignore[operator]
                part.compile(**({"backend": "eager"} if run.quick else {"mode": "reduce-overhead"}))
        step, begin = training_step(model, setup.pairs().to(run.device), "bf16", fused=True), time.perf_counter()
        try:
            step()
            note = f"the first took {time.perf_counter() - begin:.1f} s"
            run.row(f"{name}, compiled: {form}", milliseconds(run, step=step)["step"], "ms", note)
        except Exception as error:  # the other forms follow
            run.row(f"{name}, compiled: {form}", "failed", "", f"{type(error).__name__}: {error}"[:200])


def waits(run: Run) -> None:
    """The wait for ``norm.isfinite()`` in each step, and all lines of a step and its data that wait."""
    for name, setup in setups(run).items():
        model, fixed = setup.model().to(run.device), cycle([setup.pairs().to(run.device)])
        forms = {form: stepping(model, fixed, waiting=form == "waits") for form in ("waits", "runs on")}
        for form, taken in milliseconds(run, **forms).items():
            run.row(f"{name}, step that {form}", taken, "ms", "bool(norm.isfinite())" if form == "waits" else "")
    model, fresh = corpus(run, "device")
    step = stepping(model, fresh, waiting=True)
    step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if run.device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        step()
    lines = (f"{Path(each.filename).name}:{each.lineno}" for each in caught if "synchroniz" in str(each.message))
    for line, number in Counter(lines).items():
        run.row(f"a step waits in {line}", number)


def stepping(model: nn.Module, batches: Iterator[GroundingBatch], *, waiting: bool = False) -> Callable[[], None]:
    """Return a training step in bf16 on the next batch; it may wait for its norm."""
    parameters, loss = list(model.train().parameters()), GroundingLoss()
    optimizer = torch.optim.Adam(parameters, fused=True)

    def step() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        with torch.autocast(batch.video.device.type, torch.bfloat16):
            value = loss(model(batch), batch)["loss"]
        torch.autograd.backward(value)
        norm = get_total_norm([each.grad for each in parameters if each.grad is not None])
        if not waiting or bool(norm.isfinite()):
            clip_grads_with_norm_(parameters, 0.5, norm)
            optimizer.step()

    return step


def corpus(run: Run, place: str) -> tuple[CPNet, Iterator[GroundingBatch]]:
    """Return a model and endless batches of a made-up corpus with ActivityNet's shapes."""
    videos, rows, width, batch, hidden, clips = (4, 8, 8, 2, 16, 4) if run.quick else (600, 440, 500, 100, 512, 128)
    path, pairs, pick = run.folder / "made_up.hdf5", {"train": 20 * batch, "val": 1, "test": 1}, Pick(clips=clips)
    write_pack(path, videos=videos, rows=rows, width=width, dtype="float16")
    data = datamodule(
        path, pairs=pairs, videos=videos, rows=rows, width=width, placement=place, sampling=pick, batch_size=batch
    )
    model, device = CPNet(width, data.vocabulary.vectors, CPNetOptions(hidden_dim=hidden)), torch.device(run.device)
    data.dataset("train").features.to(device)
    epochs = (data.train_dataloader() for _ in iter(int, 1))
    return model.to(device), (data.transfer_batch_to_device(each, device, 0) for epoch in epochs for each in epoch)


def placement(run: Run) -> None:
    """Training steps on fresh batches of each placement, over steps on one batch."""
    for place in ("device", "memory"):
        model, fresh = corpus(run, place)
        taken = milliseconds(run, one=stepping(model, cycle([next(fresh)])), fresh=stepping(model, fresh))
        note = f"{taken['fresh'] / taken['one']:.3f} x one fixed batch" + (" (goal: 1.05)" if place == "device" else "")
        run.row(f"step on fresh batches, {place}", taken["fresh"], "ms", note)


def serving(run: Run) -> None:
    """Inference of batches of 1, 100 and 1,000 pairs."""
    for (name, setup), precision in ((each, p) for each in setups(run).items() for p in ("bf16", "fp32")):
        model = setup.model().to(run.device)
        for pairs in (1, 2, 3) if run.quick else (1, 100, 1000):
            memory(run)
            answer = inference(model, setup.pairs(pairs).to(run.device), precision)
            taken = milliseconds(run, answer=answer)["answer"]
            note = f"{taken:.2f} ms, {memory(run):.2f} GB"
            run.row(f"{name}, {precision}, batch {pairs}", 1e3 * pairs / taken, "pairs/s", note)


def kernels(run: Run) -> None:
    """The kernels that take most of a training step in bf16."""
    for name, setup in setups(run).items():
        step = stepping(setup.model().to(run.device), cycle([setup.pairs().to(run.device)]))
        step()
        with torch.profiler.profile() as profiler:
            step()
        field = f"self_{'device' if run.device == 'cuda' else 'cpu'}_time_total"
        events = [each for each in profiler.key_averages() if each.device_type.name == run.device.upper()]
        used = Counter({each.key: getattr(each, field) for each in events})
        for kernel, taken in used.most_common(10):
            run.row(f"{name}, {kernel[:36]}", taken / 1e3, "ms", f"{taken / used.total():.0%}")
