"""Dumps that other tools made of a host, read into the sections of a snapshot.  One module per format.

A dump is hostile input: each reader has named bounds, and raises ``Fault`` for what it does not understand.
"""
