"""A run that was broken off goes on as if nothing had happened."""

from cpnet.recovery.folder import begin, checkpoint_to_go_on_from, claimed, is_first_process, newest, withdraw
from cpnet.recovery.non_finite import NonFinite
from cpnet.recovery.saving import Recovery, seconds_before

__all__ = [
    "NonFinite",
    "Recovery",
    "begin",
    "checkpoint_to_go_on_from",
    "claimed",
    "is_first_process",
    "newest",
    "seconds_before",
    "withdraw",
]
