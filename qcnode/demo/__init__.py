"""What `qcnode demo` shows and the tests use: a phantom, its DICOM study, and a small archive."""
