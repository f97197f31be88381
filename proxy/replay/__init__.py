"""``muxel replay`` and ``muxel diff``: traffic, recorded or made up, through classifier and decision, without sending
anything.

``synthesize`` makes traffic of a spec; ``outcome`` is what one request comes to. ``measure`` adds up what traffic costs
and ``plot`` draws it; ``compare`` holds two configurations against each other, ``paired`` says how sure the difference
is, ``guard`` whether it is within limits, and ``changes`` and ``markdown`` tell it. The format of traffic is
``proxy.traffic``. The verbs call them; nothing here is used by a serving Muxel.
"""
