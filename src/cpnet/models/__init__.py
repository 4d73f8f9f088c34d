"""Models for video grounding: plain ``nn.Module`` classes without Lightning or Hydra."""

from cpnet.models.ablr import ABLR
from cpnet.models.cpnet.network import CPNet
from cpnet.models.cpnet_plus.network import CPNetPlus
from cpnet.models.lgi import LGI
from cpnet.models.snag import SnAG
from cpnet.models.tmlga import TMLGA
from cpnet.models.two_d_tan import TwoDTAN
from cpnet.models.vslnet import VSLNet
from cpnet.models.zero_shot import ZeroShot

__all__ = ["ABLR", "LGI", "TMLGA", "CPNet", "CPNetPlus", "SnAG", "TwoDTAN", "VSLNet", "ZeroShot"]
