"""A ConfigMap into a cluster, by server-side apply: what ``kubectl apply`` would do where there is no kubectl.

``catalog refresh --apply`` calls this, and nothing else may import it: the client behind it is huge. Where the
ConfigMap exists, ``patch`` on its name is all the permission it needs.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.kube.client import APPLY_PATCH, SERVICE_ACCOUNT, connect
from proxy.kube.resources import CONFIG_MAPS, ApiError, Unreachable
from proxy.settings import SettingsError
from proxy.verbs.output import OK, PROBLEM, fail

MANAGER = "muxel-catalog-refresh"  # who owns the fields, for the API and for kubectl's conflicts
_SECONDS = 30.0


def apply_config_map(namespace: str, manifest: Mapping[str, Any]) -> int:
    """Applies ``manifest`` in ``namespace`` of the cluster around us, or of that of KUBECONFIG; the exit status."""
    told = f"ConfigMap {namespace}/{manifest['metadata']['name']}"
    try:
        asyncio.run(_apply(namespace, manifest))
    except ApiError as error:
        return fail(f"{told}: the API answered {error}", PROBLEM)
    except (Unreachable, SettingsError) as error:
        return fail(f"{told}: the API cannot be reached: {error}", PROBLEM)
    return OK


async def _apply(namespace: str, manifest: Mapping[str, Any]) -> None:
    account = Path(os.environ.get("MUXEL_SERVICE_ACCOUNT") or SERVICE_ACCOUNT)
    api = await connect(os.environ, account, _SECONDS)
    try:
        path = CONFIG_MAPS.path(namespace, manifest["metadata"]["name"])
        await api.call("PATCH", path, {"fieldManager": MANAGER, "force": "true"}, manifest, APPLY_PATCH)
    finally:
        await api.close()
