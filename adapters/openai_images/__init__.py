"""The OpenAI Images dialect: ``/images/generations`` and ``/images/edits``, as JSON, multipart and event stream.

``client`` is what callers with an OpenAI or Azure OpenAI SDK send us, ``provider`` what OpenAI, Azure and the many
servers that speak the dialect take, ``dialect`` what both faces know. Facts from openai-python 3.52.0 (read and
captured 2026-11-20) and OpenAI's spec of 2026-08 unless a line says other.
"""
