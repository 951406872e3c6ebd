"""What an object says, as one digest that does not depend on how an archive keeps it.

An archive that was sent a SOP Instance UID which it holds already answers success and keeps the object that it had (PS3.4 annex B leaves
that to it): only a comparison of content shows that. Left out is what archives are allowed to change or add (IHE PIR, coercion of PS3.4
B.4.1.2): file meta, encoding, patient and study attributes, their own private elements, their notes about the change. Everything else
counts: one number of a report, one bit of a segmentation.
"""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
from pydicom import Dataset, uid
from pydicom.dataelem import DataElement
from pydicom.pixels.utils import pixel_array

from qcnode.deliver.destination import STUDY_KEYWORDS
from qcnode.errors import QCNodeError
from qcnode.headers.canonical import canonical_elements, is_group_length, pixel_bytes
from qcnode.headers.elements import BROKEN_ELEMENT

PRIVATE_CREATOR = "99QCNODE"
"""Private blocks of this creator would be ours; at present none is written (docs/conformance.md, section 9)."""

# Patient, Clinical Trial, Patient Study and General Study modules (PS3.3 C.7.1, C.7.2), and the order (C.7.3.1, C.4.10 to C.4.17).
_OF_PATIENT_AND_STUDY = frozenset(STUDY_KEYWORDS) | {
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientBirthTime",
    "PatientMotherBirthName",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "PatientState",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "EthnicGroup",
    "EthnicGroups",
    "EthnicGroupCodeSequence",
    "Occupation",
    "AdditionalPatientHistory",
    "PregnancyStatus",
    "MedicalAlerts",
    "Allergies",
    "SmokingStatus",
    "SpecialNeeds",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianIdentificationSequence",
    "ReferencedPatientSequence",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "RequestingService",
    "RequestingPhysician",
    "RequestAttributesSequence",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialTimePointID",
}
# How it is encoded, where it is kept, and what was done to it there.
_OF_THE_ARCHIVE = frozenset(
    {
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "OriginalAttributesSequence",
        "ModifiedAttributesSequence",
        "RetrieveAETitle",
        "RetrieveURL",
        "InstanceAvailability",
        "StorageMediaFileSetID",
        "StorageMediaFileSetUID",
        "DigitalSignaturesSequence",
        "MACParametersSequence",
        "EncryptedAttributesSequence",
        "DataSetTrailingPadding",
    }
)
# How decoded colour lay in the file: a reversible compression changes both (PS3.5 section 8.2).
_COLOUR_ENCODING = frozenset({"PhotometricInterpretation", "PlanarConfiguration"})


class UnreadableContent(QCNodeError):
    """The object's elements or pixels can not be read, so that nobody knows whether it is the same."""


def canonical_digest(dataset: Dataset) -> str:
    """SHA-256 (hexadecimal) of what a data set with file meta says: equal for two encodings of the same object, else different.

    Raises UnreadableContent.
    """
    in_colour = int(dataset.get("SamplesPerPixel") or 1) > 1
    ignored = _COLOUR_ENCODING if in_colour else frozenset[str]()
    try:
        content = canonical_elements(dataset, ignored=lambda element: _is_left_out(element, dataset) or element.keyword in ignored)
        if "PixelData" in dataset:
            content[int(dataset["PixelData"].tag)] = _pixels(dataset, in_colour=in_colour)
        encoded = json.dumps(content, sort_keys=True, default=_bytes_as_digest)
    except BROKEN_ELEMENT as error:  # its text may quote the object
        raise UnreadableContent(f"its content can not be read ({type(error).__name__})") from None
    return sha256(encoded.encode()).hexdigest()


def _is_left_out(element: DataElement, dataset: Dataset) -> bool:
    if element.tag.is_private:
        return not _is_ours(element, dataset)
    keyword = element.keyword
    return is_group_length(element) or keyword in _OF_PATIENT_AND_STUDY or keyword in _OF_THE_ARCHIVE or keyword == "PixelData"


def _is_ours(element: DataElement, dataset: Dataset) -> bool:
    if element.tag.is_private_creator:
        return str(element.value) == PRIVATE_CREATOR
    return element.private_creator == PRIVATE_CREATOR


def _pixels(dataset: Dataset, *, in_colour: bool) -> str:
    """Digest of the stored values: colour as RGB, single bits packed, everything else as it lies in the file, in little endian."""
    syntax, native = pixel_bytes(dataset, "PixelData")
    bits = int(dataset.BitsAllocated)
    if in_colour or syntax != uid.ExplicitVRLittleEndian:
        decoded = pixel_array(dataset)
        packed = np.packbits(decoded, bitorder="little") if bits == 1 else decoded.astype(decoded.dtype.newbyteorder("<"))
        native = packed.tobytes()
    frames = int(dataset.get("NumberOfFrames") or 1)
    length = frames * int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1) * bits
    whole, rest = divmod(length, 8)
    meant = native[:whole]
    if rest:  # what follows the last bit is padding
        meant += bytes([native[whole] & ((1 << rest) - 1)])
    return sha256(meant).hexdigest()


def _bytes_as_digest(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(type(value).__name__)
    return sha256(value).hexdigest()
