"""The variables of an engine's environment as they are stored: names, and what tells one value from another.

A value is never stored. Beside its name stands an HMAC of it, whose key is the user's and never in the repository:
whoever reads the file can neither read the value nor try values.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_ID_TEXT = b"pytest-vllmperf: id of the key"
_ID_DIGITS = 8
_DIGITS = 16
REMEDY = "set VLLMPERF_KEY to the same secret"


@dataclass(frozen=True)
class VariablesKey:
    """The key of the hashes.

    Attributes:
        secret: its bytes.
    """

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Tells one key from another: eight hexadecimal digits."""
        return self._hmac(_ID_TEXT)[:_ID_DIGITS]

    def hash(self, name: str, value: str) -> str:
        """Tells one value of a variable from another: sixteen hexadecimal digits."""
        return self._hmac(f"{name}\0{value}".encode("utf-8", "surrogatepass"))[:_DIGITS]

    def _hmac(self, text: bytes) -> str:
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()


class Variables(BaseModel):
    """The variables that a marker gives its engine.

    Attributes:
        key: the id of the key; empty without one.
        hashes: of the value by name; empty without a key. What is no hash is refused, so that no value gets here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(pattern="^(?:[0-9a-f]{8})?$")] = ""
    hashes: dict[str, Annotated[str, Field(pattern="^(?:[0-9a-f]{16})?$")]] = Field(default_factory=dict)

    @classmethod
    def of(cls, env: Mapping[str, str], key: VariablesKey | None) -> Variables:
        """What is stored of these variables.

        Args:
            env: names and values.
            key: the user's; None where there is none.
        """
        if not env:
            return cls()
        if key is None:
            return cls(hashes=dict.fromkeys(sorted(env), ""))
        return cls(key=key.id, hashes={name: key.hash(name, env[name]) for name in sorted(env)})
