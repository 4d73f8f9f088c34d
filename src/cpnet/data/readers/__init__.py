"""One function per annotation format. Each returns a list of ``Moment`` in the order of the file, not cleaned."""

from cpnet.data.readers.charades_sta import read_charades_sta
from cpnet.data.readers.jsonl import read_jsonl
from cpnet.data.readers.tables import read_csv
from cpnet.data.readers.tacos import read_tacos, read_tacos_text
from cpnet.data.readers.videos import read_activitynet_captions, read_ego4d_nlq, read_lists, read_snag

__all__ = [
    "read_activitynet_captions",
    "read_charades_sta",
    "read_csv",
    "read_ego4d_nlq",
    "read_jsonl",
    "read_lists",
    "read_snag",
    "read_tacos",
    "read_tacos_text",
]
