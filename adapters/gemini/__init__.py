"""The Gemini dialect, on the Gemini API and on Vertex AI: ``models/{model}:generateContent``, its streaming twin, and
what is left of Imagen's ``:predict``.

``client`` is the face callers see, with ``content`` for generateContent and ``predict`` for ``:predict``; ``provider``
is what we send. ``shapes`` is what these share. Nothing here may know any model.
"""
