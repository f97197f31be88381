"""Where a provider is found in the sandbox. Light enough for the proxy to import when it serves without one."""

from urllib.parse import urlsplit


def sandbox_base_url(origin: str, provider_name: str, real_base_url: str) -> str:
    """The base URL of a provider in the sandbox at ``origin``: its name, then the path of its real base URL.

    ("http://127.0.0.1:9000", "openai", "https://api.openai.com/v1") -> "http://127.0.0.1:9000/openai/v1"
    """
    return f"{origin.rstrip('/')}/{provider_name}{urlsplit(real_base_url).path.rstrip('/')}"
