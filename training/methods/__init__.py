"""Methods of the field that qcnode's own is compared with; one file here is one method."""
