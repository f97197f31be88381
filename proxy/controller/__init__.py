"""The policy controller and its admission webhook: ``muxel controller``, a process of its own beside the sidecars.

Sources are ConfigMaps with the label ``muxel.dev/policy: "true"``. ``reconcile`` composes them to the one ConfigMap
that sidecars mount and keeps the last good one where they are not right; ``status`` and ``events`` are how that is
told, as values; ``lease`` lets one replica of several write; ``admission`` answers before anything is stored;
``certificates`` is what it is believed by where nobody else provides one; ``run`` starts and stops it all. The API is
reached through ``proxy.kube`` alone, and sources are never written to.
"""
