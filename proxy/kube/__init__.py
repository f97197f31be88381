"""The Kubernetes API, for those who opt in: ``client`` calls it, ``listwatch`` decides what to ask, ``watch`` asks it.

Only ``client`` imports the ``kubernetes`` package, which doubles the memory of a sidecar; nothing imports ``client``
unless a setting asks for the API.
"""
