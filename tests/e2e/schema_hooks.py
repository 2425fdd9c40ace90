"""What schemathesis is told about this API that OpenAPI cannot say. Loaded by its process, see test_schema.py.

Each rule of the API that a schema cannot express makes requests that are valid by the schema and are refused all the same. Their refusals
are told by the problem that they name, and nothing else passes here.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import RejectedPositiveData

# The status and the beginning of the detail.
REFUSED_FOR_A_REASON = {
    # What a key holds, and whether it exists, is not a matter of the request's form.
    406: ("the value has the media type",),
    412: ("the key is not as the condition wants it",),
    400: (
        # A version is 24 hex digits, and one that is made up lies in a far future.
        "min_version",
        # A cursor is opaque: a made-up one cannot be right.
        "the cursor is not one that was given for this prefix",
        # Parameters that exclude or need each other.
        "a write takes one condition",
        "an Idempotency-Key goes with a condition",
        "in the body: a put takes one condition",
        "in the body: an idempotency_key goes with a condition",
        # JSON Schema can compare whole members of a list only.
        "in the body: this key is in the batch before",
        "in the body: this key is among the entries before",
        # JSON Schema takes 60.0 for an integer.
        "in the body: Expected `int | null`, got `float`",
        # A media type is described in words: its grammar is beyond a pattern that anybody can read.
        "in the body: media_type",
    ),
}


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], response: schemathesis.Response
) -> bool:
    """Tell whether a failure is one."""
    if isinstance(failure, ServerError):
        # Who asks to wait for a version that nobody writes is told, by 503, to ask again; and a node without a queue says, by
        # 501, that there is nothing to ask it.
        return response.json()["type"] not in ("/problems/version-not-reached", "/problems/unsupported")
    if not isinstance(failure, RejectedPositiveData):
        return True
    return not response.json()["detail"].startswith(REFUSED_FOR_A_REASON.get(response.status_code, ()))
