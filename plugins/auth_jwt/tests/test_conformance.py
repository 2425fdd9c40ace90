"""JSON Web Tokens do what every authenticator's tokens do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kvcore.access import Authenticator, Grant
from kvcore.testing import AuthenticatorConformance
from kvcore_auth_jwt import JwtAuthenticator


class TestJwt(AuthenticatorConformance):
    """Tokens that are signed with keys of three kinds."""

    @pytest.fixture
    def good(self, provider: Any, make_key: Any) -> dict[str, Grant]:
        """Give one of each kind."""
        self.provider = provider
        keys = [make_key("ec", "ES256"), make_key("ed", "EdDSA"), make_key("rsa", "RS256")]
        provider.publish(*(key.jwk for key in keys))
        return {key.sign({"sub": key.kid}): Grant(key.kid, frozenset(("read", "write"))) for key in keys}

    @pytest.fixture
    def bad(self, make_key: Any) -> dict[str, str]:
        """Give one that is over, and one of somebody else."""
        return {
            "expired": make_key("ec", "ES256").sign({"exp": 1}),
            "another's": make_key("mallory", "ES256").sign(kid="ec"),
        }

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Authenticator]:
        """Open it."""
        yield JwtAuthenticator(self.provider.settings(), clock=self.provider.clock)
