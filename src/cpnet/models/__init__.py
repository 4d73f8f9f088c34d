"""Models for video grounding: plain ``nn.Module`` classes without Lightning or Hydra."""

from cpnet.models.cpnet.network import CPNet
from cpnet.models.cpnet_plus.network import CPNetPlus
from cpnet.models.snag import SnAG
from cpnet.models.zero_shot import ZeroShot

__all__ = ["CPNet", "CPNetPlus", "SnAG", "ZeroShot"]
