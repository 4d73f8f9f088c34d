"""Models for video grounding: plain ``nn.Module`` classes without Lightning or Hydra."""

from cpnet.models.cpnet.network import CPNet
from cpnet.models.two_d_tan import TwoDTAN
from cpnet.models.zero_shot import ZeroShot

__all__ = ["CPNet", "TwoDTAN", "ZeroShot"]
