"""CPNet and its parts: plain ``nn.Module`` s that know neither Lightning nor Hydra."""

from cpnet.models.cpnet import CPNet

__all__ = ["CPNet"]
