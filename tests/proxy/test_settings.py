"""Process settings from the environment: every name, and what is refused."""

from pathlib import Path

import pytest

from proxy.settings import ENVIRONMENT, Settings, SettingsError, address, from_environment

FULL = {
    "MUXEL_LISTEN": "0.0.0.0:8000", "MUXEL_ADMIN_LISTEN": "[::]:9000", "MUXEL_POLICY": "/a:/b",
    "MUXEL_CREDENTIALS": "/c",
    "MUXEL_SANDBOX": "never", "MUXEL_MAX_BODY_BYTES": "1000", "MUXEL_BODY_BUDGET_BYTES": "2000",
    "MUXEL_MEDIA_BUDGET_BYTES": "3000", "MUXEL_DRAIN_SECONDS": "1.5", "MUXEL_PUBLIC_URL": "https://m.test",
    "MUXEL_SEAL_KEY_FILE": "/k", "MUXEL_LOG_LEVEL": "debug", "MUXEL_LOOP": "asyncio",
    "MUXEL_TLS_LISTEN": "0.0.0.0:8443", "MUXEL_TLS_CERT": "/tls.crt", "MUXEL_TLS_KEY": "/tls.key",
    "MUXEL_HOSTS": "muxel.svc=fal.run, queue.muxel.svc=queue.fal.run", "MUXEL_WEBHOOK_HOSTS": "*.svc,10.0.0.1",
    "MUXEL_RECORD": "/r.jsonl", "MUXEL_RECORD_PROMPTS": "keep", "MUXEL_RECORD_SHARE": "0.1",
    "MUXEL_RECORD_MAX_BYTES": "4000",
    "MUXEL_WATCH": "studio/a,b; other?team in (x, y);c", "MUXEL_SERVICE_ACCOUNT": "/sa", "MUXEL_STATE_DIR": "/state",
    "MUXEL_WATCH_START_SECONDS": "1", "MUXEL_WATCH_READ_SECONDS": "2", "MUXEL_WATCH_STREAM_SECONDS": "3",
    "MUXEL_WATCH_RETRY_SECONDS": "4", "MUXEL_ON_INVALID_START": "lastGood",
}  # fmt: skip


def test_every_setting_has_a_variable_and_is_read_from_it() -> None:
    assert set(FULL) == ENVIRONMENT
    assert from_environment(FULL) == Settings(
        "0.0.0.0:8000", "[::]:9000", (Path("/a"), Path("/b")), Path("/c"), "never", 1000, 2000, 3000, 1.5,
        tls_listen="0.0.0.0:8443", tls_cert=Path("/tls.crt"), tls_key=Path("/tls.key"),
        hosts=("muxel.svc=fal.run", "queue.muxel.svc=queue.fal.run"), webhook_hosts=("*.svc", "10.0.0.1"),
        public_url="https://m.test", record=Path("/r.jsonl"), record_prompts="keep", record_share=0.1,
        record_max_bytes=4000, seal_key_file=Path("/k"), log_level="debug", loop="asyncio",
        watch=("studio/a,b", "other?team in (x, y)", "c"), service_account=Path("/sa"), state_dir=Path("/state"),
        watch_start_seconds=1.0, watch_read_seconds=2.0, watch_stream_seconds=3.0, watch_retry_seconds=4.0,
        on_invalid_start="lastGood",
    )  # fmt: skip


def test_nothing_set_is_the_defaults_and_service_links_are_not_ours() -> None:
    links = {"MUXEL_PORT": "tcp://10.0.0.1:8080", "MUXEL_SERVICE_HOST": "10.0.0.1", "MUXEL_PORT_8080_TCP": "tcp://x"}
    assert from_environment(links) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MUXEL_LISTEN", "8080"),
        ("MUXEL_ADMIN_LISTEN", "localhost:http"),
        ("MUXEL_LISTEN", "localhost:70000"),
        ("MUXEL_SANDBOX", "sometimes"),
        ("MUXEL_MAX_BODY_BYTES", "many"),
        ("MUXEL_BODY_BUDGET_BYTES", "0"),
        ("MUXEL_LOG_LEVEL", "loud"),
        ("MUXEL_LOOP", "trio"),
        ("MUXEL_WATCH", "Studio/a"),
        ("MUXEL_WATCH", "studio/a,"),
        ("MUXEL_WATCH", "studio/a/b"),
        ("MUXEL_WATCH", "studio?"),
        ("MUXEL_WATCH_READ_SECONDS", "0"),
        ("MUXEL_WATCH_RETRY_SECONDS", "inf"),
        ("MUXEL_ON_INVALID_START", "ignore"),
        ("MUXEL_ON_INVALID_START", "lastGood"),  # without a directory to keep it in
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} "):
        from_environment({name: value})


@pytest.mark.parametrize(
    ("text", "pair"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), (":80", ("0.0.0.0", 80))]
)
def test_addresses(text: str, pair: tuple[str, int]) -> None:
    assert address(text, "listen") == pair
