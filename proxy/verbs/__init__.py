"""The bodies of the ``muxel`` verbs, one module for those that need the same things loaded.

``cli`` imports a module only when one of its verbs runs. A verb takes the parsed arguments, prints, and returns the
exit status: 0 done, 1 a problem was found, 2 bad usage. ``output`` is how they print, ``trees`` and
``traffic`` how they find what they are told of.
"""
