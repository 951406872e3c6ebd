"""A DICOM object without what tells whose it is: only attributes of a list are kept, whatever else there may be.

Stricter than the Basic Application Level Confidentiality Profile (PS3.15, annex E): that one lists what to remove, and keeps what nobody
thought of. What stays is what qcnode and its training read: pixels, geometry, what tells the planes of a series apart, and segments. UIDs
are replaced. Pixels are not looked at: a head's surface shows a face, and only what says of itself that text is burned in is refused.
"""

from __future__ import annotations

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue

from qcnode.case import ReasonCode
from qcnode.cohort.pseudonyms import Pseudonyms
from qcnode.errors import Rejected
from qcnode.headers.elements import BROKEN_ELEMENT, text

METHOD = "qcnode: listed attributes only"

_OBJECT = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID Modality Manufacturer ManufacturerModelName
    SeriesNumber InstanceNumber ImageType BurnedInAnnotation"""
_PIXELS = """Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored HighBit
    PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept RescaleType LossyImageCompression
    LossyImageCompressionRatio LossyImageCompressionMethod ExtendedOffsetTable ExtendedOffsetTableLengths PixelData
    PixelValueTransformationSequence"""
_GEOMETRY = """ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices PixelMeasuresSequence
    PlanePositionSequence PlaneOrientationSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"""
_PLANES = """TemporalPositionIdentifier TriggerTime NominalCardiacTriggerDelayTime AcquisitionNumber StackID ComplexImageComponent
    EchoNumbers EchoTime DiffusionBValue DiffusionGradientOrientation InversionTime FlipAngle RepetitionTime MagneticFieldStrength
    FrameContentSequence MRImageFrameTypeSequence FrameType MRDiffusionSequence DiffusionGradientDirectionSequence
    TemporalPositionSequence TemporalPositionTimeOffset TemporalPositionIndex MRTimingAndRelatedParametersSequence MREchoSequence
    EffectiveEchoTime CardiacSynchronizationSequence FrameAcquisitionNumber MRModifierSequence InversionTimes InStackPositionNumber
    DimensionIndexValues"""
_SEGMENTS = """SegmentationType SegmentationFractionalType MaximumFractionalValue SegmentSequence SegmentNumber SegmentLabel
    SegmentAlgorithmType SegmentAlgorithmName SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence
    SegmentedPropertyTypeModifierCodeSequence AnatomicRegionSequence CodeValue LongCodeValue URNCodeValue CodingSchemeDesignator CodeMeaning
    SegmentIdentificationSequence ReferencedSegmentNumber DerivationImageSequence SourceImageSequence ReferencedImageSequence
    ReferencedSeriesSequence ReferencedInstanceSequence StudiesContainingOtherReferencedInstancesSequence ReferencedSOPClassUID
    ReferencedSOPInstanceUID ReferencedFrameNumber"""

KEPT = tuple(" ".join((_OBJECT, _PIXELS, _GEOMETRY, _PLANES, _SEGMENTS)).split())
"""Keywords of the attributes that are kept, at the top and in the items of sequences."""


def deidentified(dataset: Dataset, pseudonyms: Pseudonyms, patient: str) -> Dataset:
    """A copy of `dataset`, ready to be saved, of the person `patient` (a pseudonym).

    Raises Rejected where the object says that its pixels hold burned-in text (PS3.3, C.7.6.1).
    """
    if text(dataset, "BurnedInAnnotation") == "YES":
        raise Rejected(ReasonCode.SERIES_UNREADABLE, "text is burned into the pixels")
    copy = _kept(dataset, pseudonyms)
    copy.PatientID = copy.PatientName = patient
    copy.PatientIdentityRemoved, copy.DeidentificationMethod = "YES", METHOD
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    copy.file_meta.MediaStorageSOPClassUID, copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPClassUID, copy.SOPInstanceUID
    return copy


def _kept(dataset: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    copy = Dataset()
    for keyword in KEPT:
        try:
            element = dataset[keyword]
        except BROKEN_ELEMENT:  # absent, or so badly written that it counts as absent
            continue
        if element.VR == "SQ":
            setattr(copy, keyword, [_kept(item, pseudonyms) for item in element.value])
        elif element.VR == "UI":
            setattr(copy, keyword, _replaced(element.value, pseudonyms))
        else:
            copy[keyword] = element
    return copy


def _replaced(value: object, pseudonyms: Pseudonyms) -> str | list[str]:
    if isinstance(value, MultiValue):
        return [pseudonyms.uid(str(uid)) for uid in value]
    return pseudonyms.uid(str(value or ""))
