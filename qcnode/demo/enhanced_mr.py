"""A volume as an Enhanced MR cine object: one file, a frame for each slice of each heart phase (PS3.3 section A.36.2)."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage
from pydicom.valuerep import format_number_as_ds

from qcnode.demo.scanner import HEART_CYCLE_MS, Study, orientation_of, phase_pixels, position_of, set_pixels, study_header
from qcnode.imaging.grid import Grid, Volume

_FRAME_TYPE = ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]


def enhanced_mr(
    volume: Volume, study: Study, *, phases: int = 1, phase: int = 0, series_number: int = 1, series_description: str = "cine short axis"
) -> list[Dataset]:
    """One Enhanced MR object; frame [p * slices + z] (0-based) is slice z of phase p. Arguments as of classic_mr.

    Raises ValueError where values lie outside of 0 to 65535.
    """
    dataset = study_header(study, EnhancedMRImageStorage, series_number, series_description)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = study.uid("instance", series_number, "enhanced")
    dataset.InstanceNumber = 1
    dataset.ContentTime = dataset.SeriesTime
    dataset.NumberOfFrames = phases * volume.grid.size[0]
    _enhanced_image(dataset, study)
    _pulse_sequence(dataset)
    _dimensions(dataset, study, series_number)
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(volume.grid)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(volume.grid, study, z, p, phases) for p in range(phases) for z in range(volume.grid.size[0])
    ]
    pixels = np.concatenate([phase_pixels(volume, p - phase, phases) for p in range(phases)])
    set_pixels(dataset, pixels, float(volume.array.max()))
    return [dataset]


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _enhanced_image(dataset: Dataset, study: Study) -> None:
    """Enhanced MR Image, Cardiac Synchronization and Acquisition Context modules (C.8.13.1, C.7.6.18.1, C.7.6.14)."""
    dataset.ImageType = _FRAME_TYPE
    dataset.AcquisitionNumber = 1
    dataset.AcquisitionDateTime = study.began.strftime("%Y%m%d%H%M%S")
    dataset.AcquisitionDuration = 12000.0
    dataset.ResonantNucleus = "1H"
    dataset.KSpaceFiltering = "NONE"
    dataset.MagneticFieldStrength = 1.5
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.ContentQualification = "PRODUCT"
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent = "MAGNITUDE"
    dataset.AcquisitionContrast = "UNKNOWN"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.CardiacSynchronizationTechnique = "RETROSPECTIVE"
    dataset.CardiacSignalSource = "ECG"
    dataset.CardiacRRIntervalSpecified = HEART_CYCLE_MS
    dataset.CardiacBeatRejectionTechnique = "NONE"
    dataset.LowRRValue = dataset.HighRRValue = int(HEART_CYCLE_MS)
    dataset.IntervalsAcquired = 10
    dataset.IntervalsRejected = 0
    dataset.AcquisitionContextSequence = []


def _pulse_sequence(dataset: Dataset) -> None:
    """MR Pulse Sequence module (C.8.13.4) of a balanced steady-state sequence."""
    dataset.PulseSequenceName = "phantom bSSFP"
    dataset.MRAcquisitionType = "2D"
    dataset.EchoPulseSequence = "GRADIENT"
    dataset.MultiPlanarExcitation = "NO"
    dataset.PhaseContrast = "NO"
    dataset.TimeOfFlightContrast = "NO"
    dataset.SteadyStatePulseSequence = "FREE_PRECESSION"
    dataset.EchoPlanarPulseSequence = "NO"
    dataset.SaturationRecovery = "NO"
    dataset.SpectrallySelectedSuppression = "NONE"
    dataset.OversamplingPhase = "NONE"
    dataset.GeometryOfKSpaceTraversal = "RECTILINEAR"
    dataset.RectilinearPhaseEncodeReordering = "LINEAR"
    dataset.SegmentedKSpaceTraversal = "PARTIAL"
    dataset.NumberOfKSpaceTrajectories = 1


def _dimensions(dataset: Dataset, study: Study, series_number: int) -> None:
    """Frames are told apart by their position in the stack and by their heart phase (C.7.6.17)."""
    organization = study.uid("dimension organization", series_number)
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    pointers = (("InStackPositionNumber", 0x00209057, 0x00209111), ("NominalPercentageOfCardiacPhase", 0x00209241, 0x00189118))
    dataset.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization, DimensionIndexPointer=tag, FunctionalGroupPointer=group, DimensionDescriptionLabel=label
        )
        for label, tag, group in pointers
    ]


def _shared_groups(grid: Grid) -> Dataset:
    anatomy = _item(CodeValue="80891009", CodingSchemeDesignator="SCT", CodeMeaning="Heart")
    spacing = [format_number_as_ds(v) for v in grid.spacing]
    groups = {
        "PixelMeasuresSequence": _item(SliceThickness=spacing[0], SpacingBetweenSlices=spacing[0], PixelSpacing=spacing[1:]),
        "PlaneOrientationSequence": _item(ImageOrientationPatient=[format_number_as_ds(v) for v in orientation_of(grid)]),
        "FrameAnatomySequence": _item(FrameLaterality="U", AnatomicRegionSequence=[anatomy]),
        "PixelValueTransformationSequence": _item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US"),
        "MRImageFrameTypeSequence": _item(
            FrameType=_FRAME_TYPE,
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
            ComplexImageComponent="MAGNITUDE",
            AcquisitionContrast="UNKNOWN",
        ),
        **_acquisition_groups(grid),
    }
    return _item(**{keyword: [item] for keyword, item in groups.items()})


def _acquisition_groups(grid: Grid) -> dict[str, Dataset]:
    """How the frames were acquired (C.8.13.5)."""
    rate = _item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0)
    gradient = _item(OperatingModeType="GRADIENT", OperatingMode="IEC_NORMAL")
    radio = _item(OperatingModeType="RF", OperatingMode="IEC_NORMAL")
    return {
        "MRTimingAndRelatedParametersSequence": _item(
            RepetitionTime="3.2",
            FlipAngle="60",
            EchoTrainLength=1,
            RFEchoTrainLength=0,
            GradientEchoTrainLength=1,
            SpecificAbsorptionRateSequence=[rate],
            GradientOutputType="ELECTRIC_FIELD",
            GradientOutput=1.0,
            OperatingModeSequence=[gradient, radio],
        ),
        "MRFOVGeometrySequence": _item(
            InPlanePhaseEncodingDirection="ROW",
            MRAcquisitionFrequencyEncodingSteps=grid.size[2],
            MRAcquisitionPhaseEncodingStepsInPlane=grid.size[1],
            PercentSampling="100",
            PercentPhaseFieldOfView="100",
        ),
        "MREchoSequence": _item(EffectiveEchoTime=1.6),
        "MRModifierSequence": _item(
            InversionRecovery="NO",
            FlowCompensation="NONE",
            Spoiling="NONE",
            T2Preparation="NO",
            SpectrallySelectedExcitation="NONE",
            SpatialPresaturation="NONE",
            PartialFourier="NO",
            ParallelAcquisition="NO",
        ),
        "MRImagingModifierSequence": _item(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=63.87,
            PixelBandwidth="900",
        ),
        "MRReceiveCoilSequence": _item(
            ReceiveCoilName="BODY", ReceiveCoilManufacturerName="", ReceiveCoilType="BODY", QuadratureReceiveCoil="YES"
        ),
        "MRTransmitCoilSequence": _item(TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY"),
        "MRAveragesSequence": _item(NumberOfAverages="1"),
    }


def _frame_groups(grid: Grid, study: Study, z: int, p: int, phases: int) -> Dataset:
    moment = study.began + timedelta(minutes=5, seconds=10 * z, milliseconds=p * HEART_CYCLE_MS / phases)
    written = moment.strftime("%Y%m%d%H%M%S.%f")
    content = _item(
        FrameReferenceDateTime=written,
        FrameAcquisitionDateTime=written,
        FrameAcquisitionDuration=HEART_CYCLE_MS / phases,
        FrameAcquisitionNumber=1,
        CardiacCyclePosition="UNDETERMINED",
        StackID="1",
        InStackPositionNumber=z + 1,
        DimensionIndexValues=[z + 1, p + 1],
    )
    cardiac = _item(
        RRIntervalTimeNominal=HEART_CYCLE_MS,
        NominalPercentageOfCardiacPhase=100.0 * p / phases,
        NominalCardiacTriggerDelayTime=p * HEART_CYCLE_MS / phases,
        ActualCardiacTriggerDelayTime=p * HEART_CYCLE_MS / phases,
    )
    position = _item(ImagePositionPatient=[format_number_as_ds(v) for v in position_of(grid, z)])
    return _item(FrameContentSequence=[content], PlanePositionSequence=[position], CardiacSynchronizationSequence=[cardiac])
