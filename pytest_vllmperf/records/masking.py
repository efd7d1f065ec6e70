"""What is a secret, by the name of an argument or variable and by the content of a text. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

MASK = "***"

_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_SECRETS = re.compile(
    "auth|authorization|cookies?|credentials?|pass|passphrase|passwd|passwords?|pwd|secrets?|webhook|apikey"
)
_GLUED = re.compile("(pgpass|passwd|password|passphrase|apikey|secretkey|accesskey|privatekey|token|secret)$")
# `key` alone is the key of a mapping, and `num_key_value_heads` counts heads.
_KINDS_OF_KEYS = re.compile(
    "access|account|admin|api|app|auth|client|deploy|encryption|hmac|license|master|private|secret|service|session"
    "|shared|signing|ssh|sso|storage"
)
# Tokens of a tokenizer, and numbers of them.
_PLAIN_TOKENS = re.compile(
    "audio|bos|cls|decoder|eos|image|end|mask|max|min|num|number|pad|per|sep|special|start|stop|unk|video|vision"
)
# The last word of a variable that is about a secret and holds none: `SSH_AUTH_SOCK`, `POSTGRES_PASSWORD_FILE`.
_ABOUT = re.compile(
    "count|dir|directory|enabled|expiry|file|folder|format|ids?|length|limit|mode|name|path|size|sock|socket|timeout"
    "|ttl|type"
)

_TOKENS = (
    r"hf_[A-Za-z0-9]{16,}",
    r"api_org_[A-Za-z0-9]{16,}",
    r"sk-(?=[\w-]{0,200}\d)[\w-]{16,}",
    r"gh[a-z]_[A-Za-z0-9]{20,}",
    r"github_pat_\w{20,}",
    r"gl(?:pat|dt|rt|cbt|ptt|soat)-[\w.-]{16,}",
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",
    r"xox[a-z]-[\w-]{8,}",
    r"xapp-[\w-]{8,}",
    r"eyJ[\w-]{8,2000}\.[\w-]{4,}(?:\.[\w-]*)?",
    r"nvapi-[\w-]{16,}",
    r"AIza[\w-]{30,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-[\w-]{16,}",
    r"dop_v1_[0-9a-f]{32,}",
)
_URL = r"(?P<kept>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)"
_Rule = tuple[re.Pattern[str], "str | Callable[[re.Match[str]], str]"]


def _query(match: re.Match[str]) -> str:
    return f"{match[1]}{MASK}" if _secret_in_query(match[1][1:-1]) else match[0]


_RULES: tuple[_Rule, ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[^\s'\"<>]+"), rf"\1{MASK}"),
    (re.compile(r"(discord(?:app)?\.com/api/(?:v\d+/)?webhooks/)[^\s'\"<>]+"), rf"\1{MASK}"),
    (re.compile(r"(\.webhook\.office\.com/|\.logic\.azure\.com[^\s/]*/)[^\s'\"<>]+"), rf"\1{MASK}"),
    (re.compile(rf"{_URL}[^\s/?#'\"<>:@]*:[^\s/'\"<>]*@"), rf"\g<kept>{MASK}@"),
    (re.compile(rf"{_URL}[^\s/?#'\"<>:@]{{16,}}@"), rf"\g<kept>{MASK}@"),
    (re.compile(r"([?&;#][\w.~%\[\]-]{1,60}=)([^&;\s'\"<>#]+)"), _query),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic|token|digest)\s+)[^\s'\"]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\baws\w{0,30}['\"]?\s*[:=]\s*['\"]?)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"), rf"\1{MASK}"),
    (re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_TOKENS)})"), MASK),
)
_ASSIGNED = re.compile(r"([A-Za-z_][\w.-]{1,60})(['\"]?\s*[:=]\s*)(?:(['\"])(.*?)\3|([^\s'\",;&(){}\[\]]{6,}))")


def is_secret_name(name: str) -> bool:
    """Whether an engine argument of this name, or a key in one, holds a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in ("token", "tokens"):
        return last == "token" and not _PLAIN_TOKENS.fullmatch(before)
    if last == "key":
        return bool(_KINDS_OF_KEYS.fullmatch(before))
    if last == "id":
        return words[-3:] == ["access", "key", "id"]
    return _is_secret_word(last)


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable of this name holds a secret; any word of the name may say so."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if name == "PWD":  # the working folder
        return False
    if not words or _ABOUT.fullmatch(words[-1]):
        return is_secret_name(name)
    telling = any(word in ("token", "key") or _is_secret_word(word) for word in words)
    return telling or is_secret_name(name)


def masked_text(text: str) -> str:
    """A text without what looks like a secret: credentials in a URL, tokens of well-known forms, private keys."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def masked_assignments(text: str) -> str:
    """A program's own output without the values that it prints beside names of secrets, such as `hf_token='…'`."""
    return masked_text(_ASSIGNED.sub(_assigned, text))


def masked(name: str, value: object) -> object:
    """The value of an engine argument as it may be shown: a secret as `***`, in nested mappings and lists too."""
    return _masked(value, secret=is_secret_name(name))


def secrets_in(name: str, value: object) -> list[str]:
    """The texts in the value of an engine argument that are secret by their name."""
    return _secrets(value, secret=is_secret_name(name))


def _masked(value: object, *, secret: bool) -> object:
    if isinstance(value, Mapping):
        return {masked_text(str(key)): _masked(one, secret=secret or is_secret_name(str(key)))
                for key, one in value.items()}  # fmt: skip
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_masked(one, secret=secret) for one in value]
    if isinstance(value, str):
        return MASK if secret and value else masked_text(value)
    return MASK if secret and isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _secrets(value: object, *, secret: bool) -> list[str]:
    if isinstance(value, Mapping):
        pairs = [(one, secret or is_secret_name(str(key))) for key, one in value.items()]
        return [found for one, inner in pairs for found in _secrets(one, secret=inner)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [found for one in value for found in _secrets(one, secret=secret)]
    return [str(value)] if secret and isinstance(value, (str, int, float)) and not isinstance(value, bool) else []


def _is_secret_word(word: str) -> bool:
    return bool(_SECRETS.fullmatch(word) or _GLUED.search(word))


def _secret_in_query(name: str) -> bool:
    last = (_WORDS.findall(name) or [""])[-1].lower()
    return is_secret_name(name) or last in ("sig", "signature", "key", "credential", "jwt", "code")


def _assigned(match: re.Match[str]) -> str:
    name, sign, quote = match[1], match[2], match[3] or ""
    value = match[4] if quote else match[5]
    if not value or value == MASK or not (is_secret_name(name) or _is_loud(name)):
        return match[0]
    return f"{name}{sign}{quote}{MASK}{quote}"


def _is_loud(name: str) -> bool:
    """Whether it is written as a variable is, and named as a secret one."""
    return name.isupper() and is_secret_variable(name)
