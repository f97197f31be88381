"""``muxel test``: the tests beside policies, run and told of.

``run`` decides each test's request as a sidecar would, ``report`` tells a person, ``junit`` and ``sarif`` a machine;
``muxel check`` writes with the last, too. What a test may say is ``policies.cases``.
"""
