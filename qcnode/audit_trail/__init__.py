"""The DICOM audit trail (PS3.15 A.5): what the store says that happened, as audit messages, by syslog.

It follows the database and touches the road nowhere: a receiver that is away holds up nothing, and is told later what it has missed.
"""
