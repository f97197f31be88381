"""Everything that waits, fails or is observed. Imports ``policies`` and ``adapters``; nothing imports it.

``cli`` starts it; ``app`` serves the client faces and ``admin`` the operators' port; ``exchange`` is one request from
top to bottom; ``attempts`` decides what to do after each upstream answer and ``transport`` is the only HTTP client;
``breaker`` and ``health`` remember how deployments fare; ``jobs`` and ``media`` keep what callers come back for;
``state``, ``reloads``, ``snapshot`` and ``watch`` hold the configuration, ``kube`` reads it through the Kubernetes API
and ``controller`` compiles that of many teams; ``rollout`` tries a policy beside another, ``record`` keeps traffic that
``replay`` decides again; ``tracing``, ``metrics`` and ``logs`` tell what happened.
"""
