"""PolicyService. A shell: the store decides what may be a version, and whether it is news."""

from __future__ import annotations

from rolltrace.v1 import policy_service_pb2 as pb
from rolltrace.v1 import policy_service_pb2_grpc as services
from rolltrace_store.interface import Store


class PolicyServicer(services.PolicyServiceServicer):
    """The version of the weights that the workers serve."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: object) -> pb.GetPolicyResponse:
        return pb.GetPolicyResponse(policy=await self._store.read(lambda view: view.policy()))

    async def SetPolicyVersion(
        self, request: pb.SetPolicyVersionRequest, context: object
    ) -> pb.SetPolicyVersionResponse:
        """Needs no request_id: asked again, it changes nothing."""
        version = request.policy_version
        policy = await self._store.write(lambda view: view.set_policy_version(version))
        return pb.SetPolicyVersionResponse(policy=policy)
