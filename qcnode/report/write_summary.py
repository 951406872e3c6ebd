"""The summary page as a Secondary Capture: what a viewer shows that has no use for the report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian

from qcnode.report.codes import SOURCE_IMAGE
from qcnode.report.identity import apply_identity, identity, pin_times, query_reference
from qcnode.report.inputs import ReportInputs
from qcnode.report.provenance import SOP_CLASSES, equipment, series_description, series_number, uid_for


def write_summary(inputs: ReportInputs, page: npt.NDArray[np.uint8]) -> Dataset:
    """Secondary Capture Image (PS3.3 A.8.1) of `page`, uint8 RGB (row, column, 3), in a series of its own."""
    attributes = identity(inputs)
    summary = Dataset()
    apply_identity(summary, attributes)
    summary.SOPClassUID = SOP_CLASSES["summary"]
    summary.SOPInstanceUID = uid_for(inputs, "summary")
    summary.SeriesInstanceUID = uid_for(inputs, "summary", "series")
    summary.SeriesNumber = series_number(inputs, "summary")
    summary.SeriesDescription = series_description(inputs, "summary")
    summary.InstanceNumber = 1
    summary.Modality = "OT"
    facts = equipment(inputs)
    summary.Manufacturer = summary.SecondaryCaptureDeviceManufacturer = facts["manufacturer"]
    summary.ManufacturerModelName = summary.SecondaryCaptureDeviceManufacturerModelName = facts["manufacturer_model_name"]
    summary.SoftwareVersions = summary.SecondaryCaptureDeviceSoftwareVersions = facts["software_versions"]
    summary.DeviceSerialNumber = facts["device_serial_number"]
    summary.ConversionType = "SYN"  # synthesised, not scanned or captured
    summary.ImageType = ["DERIVED", "SECONDARY"]
    summary.Laterality = ""
    summary.PatientOrientation = ""  # several slices on one page: letters at their edges say it
    summary.BurnedInAnnotation = "NO"  # the page names no patient
    summary.ImageComments = "segmentation QC, not for diagnosis"
    summary.DerivationDescription = "Predicted quality of a segmentation: verdict, worst slices, predicted errors"
    _refer_to_query(summary, query_reference(inputs, attributes))
    _set_pixels(summary, page)
    pin_times(summary, inputs.created)
    summary.DateOfSecondaryCapture, summary.TimeOfSecondaryCapture = summary.ContentDate, summary.ContentTime
    summary.file_meta = _file_meta(summary)
    return summary


def _refer_to_query(summary: Dataset, query: Dataset) -> None:
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = SOURCE_IMAGE[0], SOURCE_IMAGE[1], SOURCE_IMAGE[2]
    source = Dataset()
    source.ReferencedSOPClassUID = query.SOPClassUID
    source.ReferencedSOPInstanceUID = query.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = [purpose]
    summary.SourceImageSequence = [source]


def _set_pixels(summary: Dataset, page: npt.NDArray[np.uint8]) -> None:
    summary.SamplesPerPixel = 3
    summary.PhotometricInterpretation = "RGB"
    summary.PlanarConfiguration = 0
    summary.Rows, summary.Columns = page.shape[:2]
    summary.BitsAllocated = summary.BitsStored = 8
    summary.HighBit = 7
    summary.PixelRepresentation = 0
    pixels = page.tobytes()
    summary.PixelData = pixels + b"\0" * (len(pixels) % 2)
    summary["PixelData"].VR = "OB"


def _file_meta(summary: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = summary.SOPClassUID
    meta.MediaStorageSOPInstanceUID = summary.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta
