"""Models for video grounding: plain ``nn.Module`` classes without Lightning or Hydra."""

from cpnet.models.cpnet.network import CPNet

__all__ = ["CPNet"]
