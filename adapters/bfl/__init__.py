"""Black Forest Labs: submit to a path per model or tool, then poll the URL the answer names.

Knows the fields of api.bfl.ai (its OpenAPI as copied in May 2026, docs.bfl.ai seen 2026-11-21). ``client`` is what we
serve, ``provider`` what we send. Called through the registry. Must not wait or fetch.
"""
