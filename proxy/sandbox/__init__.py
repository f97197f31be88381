"""``muxel sandbox``: upstream providers on loopback, for machines without keys, for tests and for the demo.

Serves the client faces of the wires as if it were the providers, draws a real picture for every request and misbehaves
on demand. ``app`` is the HTTP side, ``jobs`` what it remembers, ``faults`` how it misbehaves; ``render``, ``scenes``,
``outdoors``, ``subjects``, ``graphics`` and ``paint`` are the pictures. Knows nothing of routing, policies or
credentials, and never calls anybody.
"""
