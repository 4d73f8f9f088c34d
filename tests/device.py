"""The device on which models, losses, metrics and data are tested: ``CPNET_TEST_DEVICE=cuda``, or else the CPU."""

import os

import torch

DEVICE = torch.device(os.environ.get("CPNET_TEST_DEVICE", "cpu"))
# Tests whose tensors are made on it; others move what they test there
MADE_ON_DEVICE = ("tests/models/", "/test_metrics.py", "/test_losses.py", "/test_spans.py")
