"""Replicate predictions: one envelope, and inside it an ``input`` whose fields differ from model to model.

Knows the HTTP API of api.replicate.com (OpenAPI of April 2026), what its SDKs need (1.0.7 and 2.0.0b4, read and run
2026-11-21) and the inputs of its common models. ``client`` is what we serve, ``provider`` what we send. Called through
the registry. Must not wait, fetch, or know a model by its name.
"""
