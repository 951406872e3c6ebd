"""What the DICOM listeners have in common: a lobby in which callers wait until they have asked, who may come in, and an orderly end."""

from qcnode.dicom_listener.callers import Callers, Peer
from qcnode.dicom_listener.listener import DicomListener, start_listener
from qcnode.dicom_listener.messages import CollectedDataSet
from qcnode.dicom_listener.rejections import Rejections
from qcnode.dicom_listener.transport import peer_of

__all__ = ["Callers", "CollectedDataSet", "DicomListener", "Peer", "Rejections", "peer_of", "start_listener"]
