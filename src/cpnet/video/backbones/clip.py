"""CLIP: frames and sentences in one space, by the package transformers.

Source: Radford et al., Learning transferable visual models from natural language supervision, ICML 2021, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cpnet.errors import ConfigError, DataError, reason
from cpnet.video.backbones.backbone import JointBackbone
from cpnet.video.backbones.network import TorchBackbone
from cpnet.video.decode import Size


class ClipViTB32(TorchBackbone, JointBackbone):
    """Encodes each frame and each sentence by its projection. See ``TorchBackbone``."""

    name: ClassVar[str] = "clip_vit_b32"
    width: ClassVar[int] = 512
    window: ClassVar[int] = 1
    stride: ClassVar[int] = 1
    rate: ClassVar[float] = 1.0  # as in packs of Charades-STA; those of QVHighlights have 0.5
    size: ClassVar[Size] = 224
    crop: ClassVar[int] = 224
    patch: ClassVar[int] = 32
    mean: ClassVar[tuple[float, ...]] = (0.48145466 * 255, 0.4578275 * 255, 0.40821073 * 255)
    deviation: ClassVar[tuple[float, ...]] = (0.26862954 * 255, 0.26130258 * 255, 0.27577711 * 255)
    preprocessing: ClassVar[str] = "shorter side 224, middle 224 x 224, normalised by CLIP's colours"
    published: ClassVar[str] = "FOLDER, made by: hf download openai/clip-vit-base-patch32 --local-dir FOLDER"

    def load(self, weights: Path) -> nn.Module:
        """See ``TorchBackbone``; ``weights`` is a folder in the layout of transformers."""
        try:
            from transformers import AutoTokenizer, CLIPModel, logging
        except ImportError as error:
            fix = f"({error}): pip install 'cpnet-grounding[clip]'"
            raise ConfigError(f"backbone={self.name} needs the package transformers {fix}") from error
        here: dict[str, Any] = {"pretrained_model_name_or_path": weights.absolute(), "local_files_only": True}
        logging.disable_progress_bar()
        try:
            network, report = CLIPModel.from_pretrained(**here, output_loading_info=True, dtype=torch.float32)
            self._tokenizer = AutoTokenizer.from_pretrained(**here)
        except Exception as error:  # damaged files can raise almost any type
            why = f"({reason(error)}); set weights={self.published}"
            raise DataError(f"{weights} cannot be read as weights {why}") from error
        seen, missing = network.config.vision_config, [*report["missing_keys"]]
        sizes = (network.config.projection_dim, seen.image_size, seen.patch_size)
        if missing or sizes != (self.width, self.crop, self.patch):
            raise DataError(f"{weights} holds other weights ({missing or sizes}); set weights={self.published}")
        return network  # type: ignore[no-any-return]

    def rows(self, frames: Tensor) -> Tensor:
        """See ``TorchBackbone``."""
        pooled = self.network.vision_model(pixel_values=frames[:, :, 0]).pooler_output
        found: Tensor = self.network.visual_projection(pooled)
        return found

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """See ``JointBackbone``."""
        tokens = self._tokenizer([*sentences], padding=True, truncation=True, max_length=77, return_tensors="pt")
        pooled = self.network.text_model(**tokens.to(self.device)).pooler_output
        rows: NDArray[np.float32] = self.network.text_projection(pooled).cpu().numpy()
        return rows
