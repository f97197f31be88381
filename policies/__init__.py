"""What operators declare, and the choice made from it: traits -> rule -> candidates -> decision.

Pure: no IO beyond reading the YAML files it is pointed at, no clock, no randomness. Of the rest of Muxel it imports
``adapters.ir`` alone.

declared   ``schema`` and ``supply`` are what users may write, built on ``document``; ``load`` turns files into a
           ``Config`` with every error at file:line:column, by way of ``parse``, ``validate``, ``check``, ``problems``
           and ``compile``; ``compose`` makes one set of many teams' ConfigMaps, ``published`` is the JSON Schema
tested     ``cases`` is what a test of policies may say, ``suites`` finds tests, ``verify`` holds them against decisions
known      ``catalog`` holds models, deployments and providers, ``price`` what a request costs, ``lexicon`` the words,
           ``weights`` what was learned beside them
chosen     ``classify`` reads what a request is about, ``match`` applies rules (a ``subject`` held against
           ``conditions``, ``when``, ``windows``, ``expressions``), ``screen`` sorts out what cannot serve, ``rank``
           orders the rest, ``decide`` is the one entry, ``decision`` its record, ``explain`` says why; ``rollout``
           compares two
renewed    ``feeds`` reads the prices and scores of a day, ``refresh`` takes what is right of them, by way of
           ``reprice``, ``rescore`` and the arithmetic of ``scores``; ``verdicts`` is what became of the rest, and
           ``write`` makes the YAML
"""
