"""What operators declare, and the choice made from it: traits -> rule -> candidates -> decision.

Pure: no IO beyond reading the YAML files it is pointed at (``load``), no clock, no randomness. Of the rest of Muxel it
imports ``adapters.ir`` alone. ``schema`` is what users may write, ``load`` turns files into a ``Config`` with every
error at file:line:column, ``catalog`` and ``price`` hold models and what they cost, ``classify`` reads what a request
is about, ``match`` and ``rank`` apply rules and order candidates, ``decide`` is the one entry, ``explain`` says why.
"""
