"""``muxel replay``: traffic, recorded or made up, through classifier and decision, without sending anything.

``synthesize`` makes traffic of a spec, ``measure`` decides and adds up, ``plot`` draws what came of it; the format of
traffic is ``proxy.traffic``. ``verbs.replay`` calls them; nothing here is used by a serving Muxel.
"""
