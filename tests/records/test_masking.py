"""What is a secret by its name or content, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.records.masking import (
    is_secret_name,
    is_secret_variable,
    masked,
    masked_assignments,
    masked_text,
    secrets_in,
)

SECRETS = {
    "hugging face": "hf_" + "AbCdEfGh12345678",
    "openai": "sk-" + "proj-abc123DEF456ghi789",
    "github": "ghp_" + "0123456789abcdefghijABCDEFGHIJ",
    "github, fine-grained": "github_pat_" + "11ABCDEFG0abcdefghijkl_mnop",
    "gitlab": "glpat-" + "abcdefghij0123456789",
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "slack": "xoxb-" + "123456789012-abcdefghij",
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc-DEF_123",
    "nvidia": "nvapi-" + "abcdefgh-0123456789_ABCDEF",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC\nabcd\n-----END RSA PRIVATE KEY-----",
    "private key, cut short": "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKC",
}


@pytest.mark.parametrize("name", [
    "token", "hf_token", "use_auth_token", "api_key", "x-api-key", "apiKey", "secret", "client_secret", "password",
    "passwd", "ssl_keyfile_password", "credentials", "auth", "Authorization", "cookie", "private_key", "access_key",
    "s3_access_key_id", "s3_secret_access_key", "PGPASSWORD", "MYSQL_PWD",
])  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert masked(name, "anything") == "***"


@pytest.mark.parametrize("name", [
    "max_num_batched_tokens", "max_tokens", "tokenizer", "tokenizer_mode", "skip_tokenizer_init", "eos_token",
    "pad_token_id", "image_token", "num_key_value_heads", "key", "author", "keyframes", "seed", "quantization",
    "kv_cache_dtype", "bypass", "passes", "", "_", "monkey",
])  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)
    assert masked(name, "anything") == "anything"


@pytest.mark.parametrize("name", ["HF_TOKEN", "HF_TOKEN_2", "API_KEY_OPENAI", "SECRET_KEY_BASE", "GPG_KEY", "PGPASS"])
def test_names_of_secret_variables(name: str) -> None:
    assert is_secret_variable(name)


@pytest.mark.parametrize(
    "name", ["SSH_AUTH_SOCK", "POSTGRES_PASSWORD_FILE", "TOKENIZERS_PARALLELISM", "KEYBOARD", "PWD", ""]
)
def test_names_of_other_variables(name: str) -> None:
    assert not is_secret_variable(name)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_secrets_by_their_form(secret: str) -> None:
    assert masked_text(f"before {secret}") == "before ***"
    assert masked("draft", [{"model": secret}]) == [{"model": "***"}]


@pytest.mark.parametrize(("text", "shown"), [
    ("https://user:pass@host:80/p?a=b", "https://***@host:80/p?a=b"),
    ("postgres://u:p@ss@db/x and s3://a:b@c", "postgres://***@db/x and s3://***@c"),
    ("https://0123456789abcdef0123@sentry.io/1", "https://***@sentry.io/1"),
    ("https://h/p?x=1&X-Amz-Signature=abc&token=def#c", "https://h/p?x=1&X-Amz-Signature=***&token=***#c"),
    ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/***"),
    ("https://discord.com/api/webhooks/12/abc", "https://discord.com/api/webhooks/***"),
    ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
    ("'authorization': 'Basic dXNlcjpw'", "'authorization': 'Basic ***'"),
    ("aws_secret_access_key = " + "a1B2" * 10, "aws_secret_access_key = ***"),
])  # fmt: skip
def test_the_secret_part_of_a_text(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked_text(shown) == shown


@pytest.mark.parametrize("text", [
    "org/model", "/models/llama", "http://host:8000/v1", "http://host:80/a@2x.png", "hf_overrides", "hf_config_path",
    "task-0123456789abcdef", "max_num_batched_tokens=8192", "https://h/p?page=2", "the bearer of news",
])  # fmt: skip
def test_other_texts_stay(text: str) -> None:
    assert masked_text(text) == text


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("hf_overrides", {"auth": {"user": "a", "n": 1}, "rope": {"factor": 2.0}},
     {"auth": {"user": "***", "n": "***"}, "rope": {"factor": 2.0}}),
    ("speculative_config", {"model": "m", "hf_token": "abc", "eos_token": "</s>"},
     {"model": "m", "hf_token": "***", "eos_token": "</s>"}),
    ("headers", [{"x-api-key": "abc"}, "plain"], [{"x-api-key": "***"}, "plain"]),
    ("hf_token", True, True),
    ("hf_token", None, None),
    ("hf_token", "", ""),
    ("password", 123456, "***"),
    ("max_num_seqs", 4, 4),
])  # fmt: skip
def test_nested_values(name: str, value: Any, shown: Any) -> None:
    assert masked(name, value) == shown


def test_secrets_in_nested_values() -> None:
    value = {"auth": {"user": "alice"}, "list": [{"token": "abc"}, "x"], "cookie": 12, "other": "y"}
    assert secrets_in("config", value) == ["alice", "abc", "12"]
    assert secrets_in("hf_token", "abc") == ["abc"]
    assert secrets_in("hf_token", True) == []


@pytest.mark.parametrize(("text", "shown"), [
    ("args: {'hf_token': 'a b', 'max_num_batched_tokens': 123456}",
     "args: {'hf_token': '***', 'max_num_batched_tokens': 123456}"),
    ("PGPASS=hunter22 MODE=production", "PGPASS=*** MODE=production"),
    ("API_KEY_2: abcdefgh, eos_token='</s></s>'", "API_KEY_2: ***, eos_token='</s></s>'"),
    ("key: nothing that matters", "key: nothing that matters"),
    ("token = get_token()", "token = ***()"),
])  # fmt: skip
def test_what_a_program_prints_beside_names_of_secrets(text: str, shown: str) -> None:
    assert masked_assignments(text) == shown


@given(st.text())
def test_any_text_can_be_masked_and_masking_again_changes_nothing_of_a_plain_one(text: str) -> None:
    masked_assignments(text)
    assert masked_text("plain words") == "plain words"
    assert masked("name", text) == masked_text(text)
