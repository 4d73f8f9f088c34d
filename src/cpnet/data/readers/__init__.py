"""One function per annotation format. Each returns a list of ``Moment`` in the order of the file, not cleaned."""

from cpnet.data.readers.activitynet_captions import read_activitynet_captions
from cpnet.data.readers.charades_sta import read_charades_sta
from cpnet.data.readers.ego4d_nlq import read_ego4d_nlq
from cpnet.data.readers.jsonl import read_jsonl
from cpnet.data.readers.lists import read_lists
from cpnet.data.readers.snag import read_snag
from cpnet.data.readers.tacos import read_tacos
from cpnet.data.readers.tacos_text import read_tacos_text

__all__ = [
    "read_activitynet_captions",
    "read_charades_sta",
    "read_ego4d_nlq",
    "read_jsonl",
    "read_lists",
    "read_snag",
    "read_tacos",
    "read_tacos_text",
]
