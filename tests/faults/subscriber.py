"""A trainer that can be killed: it writes down each trace that it has in hand, and resumes from there.

Usage: python -m tests.faults.subscriber TARGET NOTEBOOK. The notebook's lines are "EPOCH SEQUENCE TRACE_ID";
a line that was cut off by a kill does not count, and is taken out before the next one.
"""

import sys
from pathlib import Path

import grpc

from rolltrace.v1 import trace_pb2, trace_service_pb2, trace_service_pb2_grpc


def read_notebook(path: Path) -> list[tuple[str, int, str]]:
    """What was noted: (epoch, sequence, trace id). A cut-off line at the end is left out."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [(epoch, int(sequence), trace_id) for epoch, sequence, trace_id in map(str.split, whole)]


def main() -> None:
    target, notebook = sys.argv[1], Path(sys.argv[2])
    noted = read_notebook(notebook)
    notebook.write_text("".join(f"{epoch} {sequence} {trace}\n" for epoch, sequence, trace in noted))
    request = trace_service_pb2.SubscribeRequest(view=trace_pb2.TRACE_VIEW_METADATA)
    if noted:
        request.after.epoch, request.after.sequence = noted[-1][:2]
    with notebook.open("a") as notes, grpc.insecure_channel(target) as channel:
        stub = trace_service_pb2_grpc.TraceServiceStub(channel)
        epoch = ""
        for response in stub.Subscribe(request):
            if response.HasField("header"):
                epoch = response.header.epoch
            for event in response.batch.events:
                if event.HasField("trace"):
                    notes.write(f"{epoch} {event.sequence} {event.trace.trace_id}\n")
                    notes.flush()


if __name__ == "__main__":
    main()
