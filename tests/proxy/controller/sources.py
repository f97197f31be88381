"""Sources, and the ConfigMaps they are in, as the tests of the controller write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from policies.compose import Compiled, Source, compose
from policies.load import ConfigError
from proxy.configuration import WIRE_FACTS

POLICY = """\
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: %s}
spec: %s
"""
PROVIDER = """\
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {name: inhouse}
spec: {wire: openai_images, baseUrl: "https://images.example.com/v1", credential: {file: inhouse}}
"""
MODELS = """\
apiVersion: muxel.dev/v1alpha1
kind: ModelCatalog
metadata: {name: inhouse}
spec:
  models:
    - id: house-style
      vendor: inhouse
      operations: [image.generate]
      retires: 2026-12-10
      quality: {general: {score: 0.6, p25: 0.5, source: own, asOf: 2026-11-01}}
      deployments: [{provider: inhouse, remote: house-1}]
"""
GOOD = POLICY % ("default", "{objective: best}")
BROKEN = POLICY % ("default", "{objektive: best}")


def source(name: str, text: str | Mapping[str, str], version: str = "1", namespace: str = "studio") -> Source:
    data = {"policy.yaml": text} if isinstance(text, str) else text
    return Source(namespace, name, f"uid-{name}", version, data)


def composed(sources: Sequence[Source], candidate: Source | None = None) -> Compiled:
    return compose(sources, WIRE_FACTS, None, candidate=candidate)


def outcome(*sources: Source) -> Compiled | ConfigError:
    try:
        return composed(sources)
    except ConfigError as error:
        return error


def config_map(name: str, text: str | Mapping[str, Any], label: str = "true", namespace: str = "studio") -> Any:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"muxel.dev/policy": label} if label else {}},
        "data": {"policy.yaml": text} if isinstance(text, str) else dict(text),
    }
