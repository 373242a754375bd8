"""The policy as a value: which version of the weights the workers serve."""

from __future__ import annotations

from rolltrace.v1 import policy_service_pb2

from .value import Field, Maybe, Value, moment


class Policy(Value[policy_service_pb2.Policy]):
    """`policy_version` is "" and `change_time` None when nobody ever said."""

    policy_version = Field(str)
    change_time = Maybe(moment)
