"""Models for video grounding: plain ``nn.Module`` classes without Lightning or Hydra."""

from cpnet.models.cpnet.network import CPNet
from cpnet.models.lgi import LGI
from cpnet.models.tmlga import TMLGA
from cpnet.models.zero_shot import ZeroShot

__all__ = ["LGI", "TMLGA", "CPNet", "ZeroShot"]
