"""The models to time, batches of their shapes, and their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.flop_counter import FlopCounterMode

from cpnet.batch import GroundingBatch, GroundingOutput
from cpnet.models import CPNet
from cpnet.options import CAMOptions, CPNetOptions
from cpnet.training.compilation import compile_model
from cpnet.training.losses import GroundingLoss
from reference import Reference

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
WORDS, WORD_DIM, LONGEST_QUERY = 1000, 300, 12


@dataclass(frozen=True)
class Setup:
    """A model and its batches; the values are those of ``conf/model``."""

    name: str
    width: int
    clips: int
    video_dim: int
    batch: int
    dropout: float
    scale: bool

    def model(self) -> CPNet:
        """Return CPNet with random weights."""
        torch.manual_seed(0)
        options = CPNetOptions(
            hidden_dim=self.width, dropout=self.dropout, max_length=self.clips, cam=CAMOptions(scale=self.scale)
        )
        return CPNet(self.video_dim, torch.randn(WORDS, WORD_DIM), options)

    def reference(self) -> Reference:
        """Return the plain reference with random weights."""
        torch.manual_seed(0)
        vectors = torch.randn(WORDS, WORD_DIM)
        return Reference(
            video_dim=self.video_dim, word_vectors=vectors, width=self.width, dropout=self.dropout, scale=self.scale
        )

    def pairs(self, count: int | None = None, *, videos: int | None = None) -> GroundingBatch:
        """Return a batch; with ``videos``, its pairs share that number of videos."""
        count = count or self.batch
        generator = torch.Generator().manual_seed(0)
        words = torch.randint(4, LONGEST_QUERY + 1, (count,), generator=generator)
        words[0] = LONGEST_QUERY
        query_mask = torch.arange(LONGEST_QUERY) < words[:, None]
        windows = torch.rand(count, 1, 2, generator=generator).sort(dim=-1).values
        return GroundingBatch(
            video=torch.randn(videos or count, self.clips, self.video_dim, generator=generator),
            video_mask=torch.ones(videos or count, self.clips, dtype=torch.bool),
            query=torch.randint(2, WORDS, (count, LONGEST_QUERY), generator=generator) * query_mask,
            query_mask=query_mask,
            windows=windows,
            windows_sec=windows.double() * 30,
            duration_sec=torch.full((count,), 30.0, dtype=torch.float64),
            index=torch.arange(count),
            video_index=torch.arange(count) % videos if videos else None,
        )

    @cached_property
    def forward_flops(self) -> float:
        """FLOPs of a pair's forward pass, counted by torch."""
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            self.model().eval()(self.pairs(1))
        return float(counter.get_total_flops())

    @property
    def training_flops(self) -> float:
        """FLOPs of a pair's forward and backward pass: three forward passes, less the inputs' gradients."""
        inputs = 2 * self.width * (self.clips * self.video_dim + LONGEST_QUERY * WORD_DIM)
        return 3 * self.forward_flops - inputs


FULL = Setup("CPNet, D = 512, T = 128, batch 100", 512, 128, 1024, 100, 0.2, False)
SMALL = Setup("cpnet_small, D = 128, T = 32, batch 32", 128, 32, 157, 32, 0.1, True)
TINY = Setup("tiny, for --quick", 32, 32, 24, 4, 0.1, True)


def precisions(device: torch.device) -> list[str]:
    """Return the precisions in which a device computes; a CPU without instructions for bfloat16 emulates it slowly."""
    if device.type != "cpu":
        return [*DTYPES]
    return ["fp32", *(["bf16"] if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else [])]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context of a forward pass in a precision; backward passes and later ones keep the choice of TF32."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def on(device: torch.device, model: nn.Module, form: str = "not compiled") -> nn.Module:
    """Move a model to a device, and compile it there if its form is ``compiled`` or ``cuda_graphs``."""
    model.to(device)
    if form != "not compiled":
        torch._dynamo.reset()  # or every call checks the code of other models and precisions
    if form == "compiled":
        compile_model(model, device)
    elif form == "cuda_graphs":
        for part in model.compiled_parts():  # type: ignore[operator]
            part.compile(mode="reduce-overhead")
    return model


def training_step(
    model: nn.Module,
    batches: GroundingBatch | Iterator[GroundingBatch],
    precision: str,
    *,
    fused: bool = True,
    waits: bool = False,
) -> Callable[[], Tensor]:
    """Return a step on one batch, or on the next one: forward, losses, backward, clipping, optimiser.

    If it ``waits``, the host waits for the norm of the gradients, as in training.
    """
    model.train()
    endless = repeat(batches) if isinstance(batches, GroundingBatch) else batches
    device = next(model.parameters()).device
    loss = GroundingLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=fused)

    def step() -> Tensor:
        batch = next(endless)
        with autocast(device, precision):
            value = loss(model(batch), batch)["loss"]
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        norm = clip_grad_norm_(model.parameters(), 0.5)
        if not waits or bool(norm.isfinite()):
            optimizer.step()
        return value

    return step


def inference(model: nn.Module, batch: GroundingBatch, precision: str) -> Callable[[], GroundingOutput]:
    """Return a function that predicts a batch."""
    model.eval()

    def answer() -> GroundingOutput:
        with torch.inference_mode(), autocast(batch.video.device, precision):
            output: GroundingOutput = model(batch)
        return output

    return answer
