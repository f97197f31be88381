"""AUTOMATIC1111 and Forge: the web API of Stable Diffusion on one's own machine. Both faces.

``client`` is what we serve, ``provider`` what we send, ``dialect`` what both share. Facts from ``modules/api`` of both
projects (read 2026-11-21). There is no official SDK; ``webuiapi`` 0.9.17, which many programs use, is the second oracle
of the tests.
"""
