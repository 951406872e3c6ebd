"""Final decisions leave the node as a cohort: the format, pseudonyms, de-identified copies, and the writer.

`format` is all that training reads of it.
"""
