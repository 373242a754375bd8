"""The calls about the policy; see call.py."""

from __future__ import annotations

from rolltrace.v1 import policy_service_pb2 as pb

from .call import Call
from .policy import Policy

_SERVICE = "/rolltrace.v1.PolicyService/"


def get_policy(*, timeout: float | None = None) -> Call[Policy]:
    """Which version of the weights the workers serve, as somebody said last."""
    return Call(_SERVICE + "GetPolicy", pb.GetPolicyRequest().SerializeToString(), _got, timeout)


def set_policy_version(policy_version: str, *, timeout: float | None = None) -> Call[Policy]:
    """Says which version of the weights the workers serve from now on, e.g. "17".

    Calls that are sent to a worker afterwards carry it as `policy_version`; those that run keep theirs.
    Subscribers get a PolicyChangedEvent. Saying the same again changes nothing.
    """
    made = pb.SetPolicyVersionRequest(policy_version=policy_version)
    return Call(_SERVICE + "SetPolicyVersion", made.SerializeToString(), _set, timeout)


def _got(data: bytes) -> Policy:
    return Policy(pb.GetPolicyResponse.FromString(data).policy)


def _set(data: bytes) -> Policy:
    return Policy(pb.SetPolicyVersionResponse.FromString(data).policy)
