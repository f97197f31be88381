"""Pure translation: the bytes of one wire to and from the canonical model.

A wire is one HTTP dialect and one file. Each file holds the same functions in the same order, and only those it has:

client face     read_request, read_id, read_upload, write_reply, write_job, write_event, write_upload_reply, write_error
provider face   write_request, write_upload, poll, cancel, read_reply, read_upload_reply, read_event

Everything here is bytes and values in, values out: no IO, no clock, no randomness, no loops that wait. ``ir`` is the
canonical model; ``fields``, ``imaging``, ``forms`` and ``replies`` are what three or more wires share; ``registry`` is
the explicit table of wires. A wire too large for one file is a package of ``client``, ``provider`` and what both need.
The package imports nothing else of ours.
"""
