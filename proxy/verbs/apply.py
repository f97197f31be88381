"""A ConfigMap into a cluster, by server-side apply: what ``kubectl apply`` would do where there is no kubectl.

``catalog refresh --apply`` calls this, and nothing else may import it: the client behind it is huge. Where the
ConfigMap exists, ``patch`` on its name is all the permission it needs.
"""

import os
from collections.abc import Mapping
from typing import Any

from proxy.verbs.output import OK, PROBLEM, fail

MANAGER = "muxel-catalog-refresh"  # who owns the fields, for the API and for kubectl's conflicts
_SECONDS = 30.0


def apply_config_map(namespace: str, manifest: Mapping[str, Any]) -> int:
    """Applies ``manifest`` in ``namespace`` of the cluster around us, or of that of KUBECONFIG; the exit status."""
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    name = manifest["metadata"]["name"]
    try:
        # Not load_config: it tells on standard output which of the two it takes.
        load = config.load_kube_config if os.environ.get("KUBECONFIG") else config.load_incluster_config
        load()
        with client.ApiClient() as api:
            client.CoreV1Api(api).patch_namespaced_config_map(
                name,
                namespace,
                dict(manifest),
                field_manager=MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
                _request_timeout=_SECONDS,
            )
    except client.ApiException as error:
        return fail(f"ConfigMap {namespace}/{name}: the API answered {error.status} {error.reason}", PROBLEM)
    except (config.ConfigException, HTTPError, OSError) as error:
        return fail(f"ConfigMap {namespace}/{name}: the API cannot be reached: {error}", PROBLEM)
    return OK
