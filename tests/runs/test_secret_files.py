"""Which files a run keeps of the working tree, and which words of them."""

from __future__ import annotations

import pytest

from gatewise.runs.secret_files import blacked_out, is_secret

SECRET = """\
.env .env.local .env.production prod.env .envrc secrets.yaml conf/secrets.yml my-secrets.toml
credentials.toml aws_credentials.json .netrc .npmrc .pypirc id_rsa id_ed25519 deploy.pem server.key kubeconfig
.kube/config.yaml .aws/config.toml secrets/db.yaml password.txt passwords.yaml api_keys.yaml apikey.sh
token.yaml hf_token.txt auth_tokens.toml access-token.json secrets.py local_secrets.py credentials.py
prod.tfvars SECRETS.YAML .Env client_secret_123.json private_key.toml .git-credentials .pgpass
wandb_api_key.txt"""
HARMLESS = """\
train.py tokenizer.py tokens.py token.py tokens.yaml tokenizer.yaml conf/tokenizer/word.yaml
tests/test_tokens.py key.py keys.yaml keyboard.yaml .env.example .env.sample env.yaml environment.yml
password_strength_meter_rules.py password.py
test_secrets.py test_credentials.py secretary.py monkey.toml hotkeys.yaml attention_keys.yaml .gitignore
pyproject.toml src/gatewise/runs/secret_files.py public.c authors.yaml compass.yaml README.md
docs/secrets.md"""


@pytest.mark.parametrize("path", SECRET.split())
def test_a_file_of_secrets(path: str) -> None:
    assert is_secret(path)


@pytest.mark.parametrize("path", HARMLESS.split())
def test_a_file_of_code(path: str) -> None:
    assert not is_secret(path)


KEYS = [
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1_B2" * 6,
    "sk-" + "proj-" + "a1B2" * 8,
    "hf_" + "aBcD" * 8,
    "xoxb-" + "123456789012-abc",
    "AIza" + "x" * 35,
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc-def",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_crossed_out_and_nothing_else(key: str) -> None:
    diff = f"+before = 1\n+token = '{key}'\n after\n".encode()
    crossed, count = blacked_out(diff)
    assert count == 1
    assert crossed == diff.replace(key.encode(), b"*" * len(key))


@pytest.mark.parametrize(
    "line",
    [
        "+WANDB_API_KEY=" + "0123456789abcdef" * 2 + "01234567",
        '+api_key: "' + "0123456789abcdef" * 2 + '"',
        "+url = postgres://me:hunter2@host/db",
        "+-----BEGIN RSA PRIVATE KEY-----\n+hunter2\n+abc\n+-----END RSA PRIVATE KEY-----",
        "+-----BEGIN PRIVATE KEY-----\n+hunter2 and the rest is cut",
    ],
)
def test_what_stands_beside_its_name(line: str) -> None:
    crossed, count = blacked_out(line.encode())
    assert count == 1
    assert b"hunter2" not in crossed
    assert b"0123456789" not in crossed
    assert crossed.count(b"\n") == line.count("\n")


def test_code_stays_as_it_is() -> None:
    code = b"""+def sk_learn(x): return api_key or x
+commit = "0123456789abcdef0123456789abcdef01234567"
+see https://example.org:8080/a@b and git@github.com:x/y.git
+mask-risk-desk-task-and-other-words
+password = getpass()
"""
    assert blacked_out(code) == (code, 0)
