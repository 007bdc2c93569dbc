"""Disclosure control of `aggregate` mode: which exact numbers may be said, given all that was said before.

Pure, on arrays: rows of one unit each come in, and out come the numbers that are released, with the reason for each
that is not. `protect.py` has the steps in order: read it first.
"""
