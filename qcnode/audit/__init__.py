"""`qcnode audit`: is everything there that was accepted, and is every answer where it belongs, once?

It reads the database and holds it against the disk and the destinations. Not to be taken for `store.audit`, the table of who did what.
"""
