"""Ideogram: an endpoint for each kind of work and generation of its models, multipart in, links to pictures out.

``client`` and ``provider`` are the two faces, ``terms`` what they share. Facts from Ideogram's reference of API v1
(developer.ideogram.ai/v1, pages and OpenAPI document as copied from July to October 2026); it has no official SDK. The
newer ``/v2`` of the same API is handed on untouched.
"""
