"""What a stored DICOM object says of itself, without its pixels; pydicom only.

instances.py   a file or data set -> InstanceHeader
frames.py      its image planes -> FrameHeader
elements.py    single elements, read tolerantly
files.py       files, read within bounds
codestreams.py compressed frames, and how large they say that they are
"""

from qcnode.headers.frames import EXTRA_KEY, TIME_KEY
from qcnode.headers.instances import (
    LABEL_MAP_SEGMENTATION_CLASS,
    MR_IMAGE_CLASSES,
    SEGMENTATION_CLASS,
    header_of,
    read_dataset,
    read_header,
)

__all__ = [
    "EXTRA_KEY",
    "LABEL_MAP_SEGMENTATION_CLASS",
    "MR_IMAGE_CLASSES",
    "SEGMENTATION_CLASS",
    "TIME_KEY",
    "header_of",
    "read_dataset",
    "read_header",
]
