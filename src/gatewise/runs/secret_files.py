"""Which files and which words of a diff look like secrets: a run directory is sent to others."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

CODE = {".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh", ".rs", ".js", ".ts", ".md", ".rst"}
"""Suffixes of files whose names may speak of secrets (``password_rules.py``) without holding any."""
_FOLDERS = {".ssh", ".aws", ".azure", ".gnupg", ".kube", ".gcloud", ".secrets", "secrets", "credentials"}
_SUFFIXES = {
    *(".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".p8", ".asc", ".gpg", ".age"),
    *(".env", ".ovpn", ".tfvars", ".tfstate", ".netrc", ".pgpass", ".htpasswd", ".credentials"),
}
_NAMES = {
    *(".env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", ".git-credentials"),
    *(".dockercfg", ".dockerconfigjson", "kubeconfig", ".boto", ".s3cfg", ".my.cnf", ".vault-token"),
    *(".terraformrc", ".yarnrc.yml", ".htaccess", "pip.conf", ".pip.conf", "wandb.key"),
}
_EXAMPLES = re.compile(r"[._-](example|sample|template|dist|defaults?)\b")
_WORDS = re.compile(r"secret|credential|passw(or)?d|passphrase|api[_-]?keys?|(private|access|auth)[_-]?keys?")
_OF_CODE = re.compile(r"(?!test_)(.*[._-])?(secrets?|credentials|passwords|api_?keys)")
"""The stem of a file of code that holds nothing else (``local_secrets.py``)."""
# `tokens.yaml` is a vocabulary as often.
_TOKEN = re.compile(r"(^|[^a-z])(token|(api|auth|access|hf|github|wandb|bot)[_-]?tokens?)($|[^a-z])")

_KEYS = re.compile(
    rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{20,}"
    rb"|\bgithub_pat_\w{20,}"
    rb"|\bglpat-[\w-]{16,}"
    rb"|\bsk-[\w-]{20,}"
    rb"|\bhf_[A-Za-z0-9]{20,}"
    rb"|\bxox[abeoprs]-[\w-]{10,}"
    rb"|\bAIza[\w-]{30,}"
    rb"|\bnpm_[A-Za-z0-9]{30,}"
    rb"|\bpypi-[\w-]{40,}"
    rb"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"
    rb"|(?<=://)[^\s/:@{}$<>]+:[^\s/@{}$<>]+(?=@)"
    rb"|(?i:(?<=api_key)|(?<=apikey)|(?<=api-key))[\"']?\s{0,3}[:=]\s{0,3}[\"']?[0-9a-f]{32,64}\b"
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)


def is_secret(path: str) -> bool:
    """Whether a file's name says that it holds keys or passwords."""
    file = PurePosixPath(path)
    name, suffix = file.name.lower(), file.suffix.lower()
    is_code = suffix in CODE
    if any(
        part.lower() in _FOLDERS or part.lower() in ("secrets", "credentials") for part in file.parts[:-1]
    ):
        return not is_code
    if name in _NAMES or name.startswith(".env."):
        return not _EXAMPLES.search(name)
    if re.fullmatch(r"id_(rsa|dsa|ecdsa|ed25519)(_sk)?", name) or suffix in _SUFFIXES:
        return True
    if is_code:
        return _OF_CODE.fullmatch(file.stem.lower()) is not None and suffix in (".py", ".js", ".ts")
    return bool(_WORDS.search(name) or _TOKEN.search(name)) and not _EXAMPLES.search(name)


def blacked_out(diff: bytes) -> tuple[bytes, int]:
    """A diff with each key of a known form crossed out, and how many there were."""
    return _KEYS.subn(lambda match: re.sub(rb"[^\s]", b"*", match[0]), diff)
